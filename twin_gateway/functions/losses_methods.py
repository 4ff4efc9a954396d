"""Methods of the loss function: their arguments, and how their texts are read and written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from address_space import clock
from address_space.ports import Argument, MethodSpec, Right
from twin_gateway.twin.losses.detection import Suspicion

_UINT32, _DOUBLE, _STRING = 7, 11, 12
_REGION = Argument("region", _STRING, "Address of the region, or of its twLOSS function")
_T0 = Argument("t0", _STRING, "Begin, ISO 8601 with time zone")
_T1 = Argument("t1", _STRING, "End, ISO 8601 with time zone")
TOTALS = (
    ("losWh", "Statistical loss, Wh; not a number when a boundary meter is missing"),
    ("losPct", "Loss rate, percent of what enters"),
    ("tecWh", "Technical loss, Wh"),
    ("ntlWh", "Non-technical loss, Wh"),
    ("uncWh", "Standard uncertainty of the loss, Wh"),
    ("inWh", "Energy that entered, with feed-in, Wh"),
    ("outWh", "Energy that left over the boundary, Wh"),
    ("cnsWh", "Metered consumption, Wh"),
    ("derWh", "Feed-in inside, Wh"),
    ("unmWh", "Known unmetered energy, Wh"),
    ("estPct", "Estimated share, percent"),
    ("cmpl", "Metered share of the energy, percent"),
)
_LIST = (
    Argument("ends", _STRING, "Ends of the intervals, ISO 8601", is_list=True),
    Argument("intervalLosWh", _DOUBLE, "Loss of each interval, Wh", is_list=True),
    Argument("intervalUncWh", _DOUBLE, "Its standard uncertainty, Wh", is_list=True),
    Argument("intervalState", _STRING, "ok, provisional, incomplete, topologyChanged or invalid", is_list=True),
)
_TEXT = Argument("text", _STRING, "What happened, in words")
_EXPLAIN = (
    Argument("address", _STRING, "Meter, or the region itself for what is computed", is_list=True),
    Argument("side", _STRING, "import, export, consumption, feedIn, unmetered or technical", is_list=True),
    Argument("energy", _DOUBLE, "Wh; not a number where it is missing", is_list=True),
    Argument("quality", _STRING, "Quality of the readings, with `estimated` and `missing`", is_list=True),
    Argument("uncertainty", _DOUBLE, "Standard uncertainty, Wh", is_list=True),
    Argument("losWh", _DOUBLE, "Loss of the interval, Wh"),
    _TEXT,
)
_SUSPECTS = (
    Argument("method", _STRING, "What found it", is_list=True),
    Argument("address", _STRING, "Meter or region, never a person", is_list=True),
    Argument("region", _STRING, "Function of the region", is_list=True),
    Argument("score", _DOUBLE, "0 to 1", is_list=True),
    Argument("start", _STRING, "Begin of the evidence, ISO 8601", is_list=True),
    Argument("end", _STRING, "End of the evidence, ISO 8601", is_list=True),
    Argument("kWhPerDay", _DOUBLE, "Energy in question", is_list=True),
    Argument("evidence", _STRING, "name=value of what was computed", is_list=True),
)
STATES = ("unknown", "ok", "provisional", "incomplete", "topologyChanged", "invalid")


def specs(owner: str) -> tuple[MethodSpec, ...]:
    """The methods on the loss function of the area."""
    window = (_REGION, _T0, _T1)
    totals = tuple(Argument(name, _DOUBLE, text) for name, text in TOTALS)
    return (
        MethodSpec(owner, "Compute", window, (*totals, *_LIST, _TEXT), Right.READ, "Losses of a region over a window"),
        MethodSpec(
            owner,
            "Recompute",
            window,
            (
                Argument("changed", _UINT32, "Intervals of the region with another result"),
                Argument("revision", _UINT32, "Highest revision among them"),
                _TEXT,
            ),
            Right.SUPERVISE,
            "Compute again from the data of now and publish what has changed with the next revision",
        ),
        MethodSpec(
            owner,
            "Explain",
            (_REGION, Argument("t", _STRING, "A time in the interval, ISO 8601 with time zone")),
            _EXPLAIN,
            Right.READ,
            "All terms of the balance of one interval",
        ),
        MethodSpec(
            owner,
            "TopSuspects",
            (Argument("n", _UINT32, "How many at most"),),
            _SUSPECTS,
            Right.READ,
            "Suspicions of abnormal loss, the largest energy first",
        ),
    )


def seconds(text: object) -> float:
    """Unix seconds of an ISO 8601 text.

    Raises:
        ValueError: it cannot be read, or has no time zone.
    """
    moment = datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError(f"'{text}' has no time zone; append Z for UTC")
    return moment.timestamp()


def iso(moment: float) -> str:
    """ISO 8601 UTC text of Unix seconds."""
    return clock.iso(clock.from_unix(moment))


def evidence(values: Sequence[tuple[str, float]]) -> str:
    """Evidence of a suspicion as one text."""
    return " ".join(f"{name}={value:.4g}" for name, value in values if math.isfinite(value))


def suspect_columns(items: Sequence[Suspicion]) -> tuple[list[str] | list[float], ...]:
    """The outputs of `TopSuspects` but for the text."""
    return (
        [str(item.method) for item in items],
        [item.address for item in items],
        [item.region for item in items],
        [item.score for item in items],
        [iso(item.start) for item in items],
        [iso(item.end) for item in items],
        [item.kwh_per_day for item in items],
        [evidence(item.evidence) for item in items],
    )
