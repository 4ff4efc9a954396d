"""A field that answers back: the physics of a grid model behind the real protocol simulators."""

from twin_gateway.simulate.feeder.run import main

__all__ = ["main"]
