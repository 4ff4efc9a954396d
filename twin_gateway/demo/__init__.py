"""The demo: the field of one grid, a broker and the gateway on one machine."""
