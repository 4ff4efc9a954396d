"""What a compute process does to be ready: it has imported the search, and compiled what can be compiled."""

from __future__ import annotations

from twin_gateway.twin.flisr.kernels import warm
from twin_gateway.twin.flisr.restore import plan_restoration


def ready() -> str:
    """Name of the search that can be run at once now."""
    warm()
    return plan_restoration.__name__
