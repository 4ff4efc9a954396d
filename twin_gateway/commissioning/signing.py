"""The sign-off of a place: which records are signed, and the protocol that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from address_space import clock
from address_space.ports import Caller
from twin_gateway.commissioning.place import PlacePoint
from twin_gateway.commissioning.protocol import Protocol, ProtocolLine, as_csv, as_markdown
from twin_gateway.commissioning.record import Known, Record, Result, Standing, State, standing_of
from twin_gateway.commissioning.store import KeptProtocol
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.revisions import Revision

_SIGNABLE = "not signed off"
_PENDING = 1 << 62
"""Stands for the number of the protocol that is being made."""


@dataclass(frozen=True, slots=True)
class SignedOff:
    """A protocol to be kept, the numbers of the records that it signs, and how many points have each state then."""

    protocol: KeptProtocol
    records: Sequence[int]
    states: dict[str, int]


@dataclass(frozen=True, slots=True)
class SignOff:
    """What a sign-off is about.

    Attributes:
        place, gateway: where.
        caller: who signs.
        remark: what they wrote.
        revision: of the mapping files; None where it is not known.
        names: readable names of points by address.
    """

    place: str
    gateway: str
    caller: Caller
    remark: str
    revision: Revision | None
    names: Mapping[str, str]


def sign_off(
    about: SignOff, points: Mapping[str, PlacePoint], known: Mapping[str, Known], mapping: PointMapping
) -> SignedOff:
    """Make the protocol of a place; what is confirmed and lacks nothing becomes commissioned by it.

    Args:
        about: see there.
        points: every point below the place.
        known: what is kept of them, and of points that are mapped no more.
        mapping: for what became of points that are mapped no more.
    """
    time = clock.iso(clock.now() // clock.TICKS_PER_SECOND * clock.TICKS_PER_SECOND)
    user = about.caller.user
    records: list[int] = []
    lines: list[ProtocolLine] = []
    for address, point in points.items():
        each = known.get(address, Known())
        standing = standing_of(each, point.binding)
        if each.record is not None and standing.state is State.VERIFIED and standing.why == _SIGNABLE:
            records.append(each.record.number)
            each = replace(each, record=replace(each.record, signed=_PENDING))
            standing = standing_of(each, point.binding)
        lines.append(_line(address, about.names.get(address, ""), each, standing, point))
    gone = sorted(address for address in known if address not in points and known[address].record is not None)
    lines += [_line(address, "", known[address], _gone(address, mapping), None) for address in gone]
    head = [
        ("place", about.place),
        ("gateway", about.gateway),
        ("mapping revision", _revision_text(about.revision)),
        ("signed off", f"{time} by {user} ({', '.join(sorted(about.caller.roles))})"),
        ("looked at by", ", ".join(sorted({each.record.user for each in known.values() if each.record}))),
        ("remark", about.remark),
        ("points", str(len(lines))),
    ]
    protocol = Protocol(head, lines)
    (markdown, markdown_digest), (csv, csv_digest) = as_markdown(protocol), as_csv(protocol)
    kept = KeptProtocol(about.place, time, user, markdown, csv, markdown_digest, csv_digest)
    return SignedOff(kept, records, dict(Counter(line.state for line in lines).most_common()))


def _line(address: str, name: str, known: Known, standing: Standing, point: PlacePoint | None) -> ProtocolLine:
    record, binding = known.record, point.binding if point is not None else None
    reading = record.reading if record is not None else {}
    value = reading.get("value")
    test = known.test
    digest = binding.command_digest if binding is not None else ""
    tested = test if test is not None and digest and test.digest == digest else None
    approved = known.approval.user if known.approval is not None and known.approval.digest == digest else ""
    return ProtocolLine(
        address=address,
        name=name,
        type=str(reading.get("type", "")),
        value=_value(value),
        unit=str(reading.get("unit", "")),
        quality=str(reading.get("status", "")),
        device_time=str(reading.get("time", "")),
        received=str(reading.get("received", "")),
        result=_result(record),
        state=str(standing.state),
        remark="; ".join(dict.fromkeys(filter(None, (standing.why, record.note if record is not None else "")))),
        command=f"{tested.tested} ({tested.text})" if tested is not None else "not tested" if digest else "",
        approved=approved if digest else "",
        user=record.user if record is not None else "",
        time=record.time if record is not None else "",
        binding=_binding(record, point),
    )


def _value(value: bool | int | float | str | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _result(record: Record | None) -> str:
    if record is None:
        return "not looked at"
    return f"{record.result} (bulk)" if record.bulk and record.result is Result.CONFIRMED else str(record.result)


def _binding(record: Record | None, point: PlacePoint | None) -> str:
    """That of the record where there is one: it says what was looked at."""
    binding = record.binding if record is not None else point.binding if point is not None else None
    if binding is None:
        return ""
    return ", ".join(dict.fromkeys(filter(None, (binding.text, binding.command_text))))


def _gone(address: str, mapping: PointMapping) -> Standing:
    stone = mapping.retired.get(address)
    if stone is not None:
        return Standing(State.RETIRED, f"{stone.date}: {stone.reason}")
    for former in mapping.former:
        if address == former.was or address.startswith(f"{former.was}/"):
            return Standing(State.MOVED, f"now {former.address}{address.removeprefix(former.was)}")
    return Standing(State.REMOVED, "in no mapping file any more")


def _revision_text(revision: Revision | None) -> str:
    if revision is None:
        return "not kept"
    return f"{revision.hash} since {revision.time}" + (f" (git {revision.git})" if revision.git else "")
