"""Commissioning: what devices say of each point, what people found, and what they signed."""
