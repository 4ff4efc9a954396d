"""Benchmark of the twin computations: each with the size of the grid that it was measured on."""

from __future__ import annotations

from collections.abc import Callable

from twin_gateway.bench import twin_flisr, twin_losses, twin_lv_topology, twin_powerflow, twin_topology

PARTS: dict[str, Callable[[bool], dict[str, float]]] = {
    "topology": twin_topology.measure,
    "powerflow": twin_powerflow.measure,
    "flisr": twin_flisr.measure,
    "losses": twin_losses.measure,
    "lv_topology": twin_lv_topology.measure,
}


def run(quick: bool = False) -> dict[str, float]:
    """Figures of all parts, named `<part>_<figure>`; what they mean is said by each part's `measure`."""
    return {f"{part}_{name}": value for part, measure in PARTS.items() for name, value in measure(quick).items()}
