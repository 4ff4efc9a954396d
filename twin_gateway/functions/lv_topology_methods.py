"""Methods of low-voltage topology: their arguments, and the tables and times of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC
from typing import Any

from address_space import clock
from address_space.ports import Argument, MethodSpec, Right
from twin_gateway.functions.lv_topology_store import StoredFinding
from twin_gateway.grid.model import Meter
from twin_gateway.twin.lv_topology.identify import METHODS

_DOUBLE, _UINT32, _STRING, _DATETIME = 11, 7, 12, 13


def specs(owner: str) -> list[MethodSpec]:
    """The methods; people who only look may compare and export."""
    area = Argument("area", _STRING, "address of an area, a site, a transformer or its LV place; empty for all")
    table = (
        Argument("finding", _STRING, "ids", is_list=True),
        Argument("meter", _STRING, "addresses", is_list=True),
        Argument("state", _STRING, "agrees, differs, unknown, confirmed, rejected", is_list=True),
        Argument("confidence", _DOUBLE, "0 to 1", is_list=True),
        Argument("transformer", _STRING, "as identified", is_list=True),
        Argument("phases", _STRING, "as identified, by terminal of the meter", is_list=True),
        Argument("recordedTransformer", _STRING, "on record now", is_list=True),
        Argument("recordedPhases", _STRING, "on record now", is_list=True),
        Argument("parent", _STRING, "next meter up the line", is_list=True),
        Argument("votes", _STRING, "what each method says", is_list=True),
    )
    said = (Argument("text", _STRING, "a sentence"),)
    progress = (
        Argument("result", _STRING, "id; empty while it is under way"),
        Argument("state", _STRING, "idle, reading and computing, done, failed"),
        Argument("percent", _DOUBLE),
        Argument("meters", _UINT32),
        Argument("agrees", _UINT32),
        Argument("differs", _UINT32),
        Argument("unknown", _UINT32),
        Argument("seconds", _DOUBLE),
        *said,
    )
    finding = Argument("finding", _STRING, "id, from Compare or Findings")
    window = (
        Argument("start", _DATETIME, "of the window; null (1601) for `days` before the end"),
        Argument("end", _DATETIME, "of the window; null (1601) for now"),
        Argument("days", _DOUBLE, "length of the window where no start is given; 0 for the configured one"),
        Argument("methods", _STRING, f"empty for all of {', '.join(METHODS)}", is_list=True),
    )
    return [
        MethodSpec(owner, "Identify", (area, *window), progress, Right.CONFIGURE, "Find out where meters hang"),
        MethodSpec(owner, "Progress", (), progress, Right.READ, "The identification under way, or the last"),
        MethodSpec(owner, "Compare", (area,), table, Right.READ, "Findings that differ from the records"),
        MethodSpec(owner, "Findings", (area,), table, Right.READ, "The newest finding of every meter"),
        MethodSpec(
            owner,
            "Accept",
            (finding,),
            (Argument("revision", _UINT32, "of the references; 0 when unchanged"), *said),
            Right.CONFIGURE,
            "Confirm a finding: the references FedBy and Phases of its meter become what it says",
        ),
        MethodSpec(
            owner,
            "Reject",
            (finding, Argument("reason", _STRING)),
            said,
            Right.CONFIGURE,
            "Reject a finding: the record stays, and the same answer is not brought forward again",
        ),
        MethodSpec(
            owner,
            "Export",
            (area, Argument("format", _STRING, "csv or cim")),
            (Argument("document", _STRING),),
            Right.READ,
            "Findings as CSV, or the agreed and confirmed ones as CIM RDF/XML",
        ),
    ]


def table(items: Iterable[StoredFinding], meter_of: Callable[[str], Meter | None]) -> tuple[list[Any], ...]:
    """Outputs of `Compare` and `Findings`.

    Args:
        items: findings.
        meter_of: a meter with its references as accepted so far.
    """
    rows = []
    for item in items:
        finding = item.finding
        meter = meter_of(finding.meter)
        votes = "; ".join(
            f"{vote.method}: {vote.transformer or 'none'} {vote.phases} {vote.probability:.3f}"
            for vote in finding.votes
        )
        rows.append(
            (
                item.id,
                finding.meter,
                finding.state.value,
                finding.confidence,
                finding.transformer,
                finding.phases,
                meter.transformer if meter is not None else "",
                meter.phases if meter is not None else "",
                finding.parent,
                votes,
            )
        )
    return tuple(list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 10


def seconds(value: Any) -> float:
    """Unix seconds of a DateTime argument (FILETIME ticks, or an aware or naive UTC datetime); 0 for null."""
    if value is None:
        return 0.0
    if isinstance(value, (int, float)):
        return max(0.0, clock.to_unix(int(value))) if value > 0 else 0.0
    if value.year <= 1601:
        return 0.0
    return float(clock.to_unix(clock.from_datetime(value if value.tzinfo else value.replace(tzinfo=UTC))))
