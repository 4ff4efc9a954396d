"""What a compute process does to be ready: it has imported the search."""

from __future__ import annotations

from twin_gateway.twin.flisr.restore import plan_restoration


def ready() -> str:
    """Name of the search that can be run at once now."""
    return plan_restoration.__name__
