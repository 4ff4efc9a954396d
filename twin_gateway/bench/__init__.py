"""Benchmarks, run by `twin-gateway bench NAME`; each prints its figures as one object."""
