"""Metrics in the text format of Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with its samples.

    Attributes:
        name: `twin_gateway_…`, counters end in `_total`.
        kind: `counter` or `gauge`.
        help: one line.
        samples: (labels, value) pairs.
    """

    name: str
    kind: str
    help: str
    samples: tuple[tuple[Mapping[str, str], float], ...] = field(default=())


def gauge(name: str, description: str, value: float) -> Metric:
    """A gauge without labels."""
    return Metric(name, "gauge", description, (({}, value),))


def counter(name: str, description: str, value: float) -> Metric:
    """A counter without labels."""
    return Metric(name, "counter", description, (({}, value),))


def labelled(name: str, kind: str, description: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Metric:
    """A metric with labels."""
    return Metric(name, kind, description, tuple(samples))


def render(metrics: Iterable[Metric]) -> str:
    """The whole page."""
    lines: list[str] = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, value in metric.samples:
            inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
            number = _number(value)
            lines.append(f"{metric.name}{{{inner}}} {number}" if inner else f"{metric.name} {number}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if math.isfinite(value):
        return str(int(value)) if float(value).is_integer() else str(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
