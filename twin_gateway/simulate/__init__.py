"""Simulated devices of each protocol, from files; always processes of their own, steered by JSON lines."""
