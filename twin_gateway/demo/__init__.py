"""The demo: a small feeder of simulated devices, a broker and the gateway on one machine."""
