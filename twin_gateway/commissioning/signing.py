"""The sign-off of a place: which records are signed, and the protocol that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from address_space.ports import Caller
from twin_gateway.commissioning.place import PlacePoint
from twin_gateway.commissioning.protocol import Protocol, ProtocolLine
from twin_gateway.commissioning.reading import now_text, value_text
from twin_gateway.commissioning.record import Known, Record, Result, Standing, State, standing_of
from twin_gateway.commissioning.store import KeptProtocol
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.revisions import Revision


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
    """

    place: str
    gateway: str
    caller: Caller
    remark: str
    revision: Revision | None


class Draft:
    """The protocol of a place while it is made; what is confirmed and lacks nothing becomes commissioned by it.

    Args:
        about: see there.
        mapping: for what became of points that are mapped no more.
    """

    def __init__(self, about: SignOff, mapping: PointMapping) -> None:
        self._about = about
        self._mapping = mapping
        self._protocol = Protocol()
        self._people: set[str] = set()
        self._records: list[int] = []

    def add(
        self, points: Mapping[str, PlacePoint | None], known: Mapping[str, Known], names: Mapping[str, str]
    ) -> None:
        """Take further points by address: those of the place, None where one is mapped no more; with readable names."""
        self._protocol.add(
            self._added(address, point, known.get(address, Known()), names.get(address, ""))
            for address, point in points.items()
        )

    def _added(self, address: str, point: PlacePoint | None, known: Known, name: str) -> ProtocolLine:
        if known.record is not None:
            self._people.add(known.record.user)
        standing = _gone(address, self._mapping) if point is None else standing_of(known, point.binding)
        if standing.ready and known.record is not None:
            self._records.append(known.record.number)
            standing = Standing(State.COMMISSIONED)
        return _line(address, name, known, standing, point)

    def signed(self) -> SignedOff:
        """What is to be kept."""
        about, made, time = self._about, self._protocol, now_text()
        head = [
            ("place", about.place),
            ("gateway", about.gateway),
            ("mapping revision", _revision_text(about.revision)),
            ("signed off", f"{time} by {about.caller.user} ({', '.join(sorted(about.caller.roles))})"),
            ("looked at by", ", ".join(sorted(self._people))),
            ("remark", about.remark),
            ("points", str(made.states.total())),
        ]
        (markdown, markdown_digest), (csv, csv_digest) = made.as_markdown(head), made.as_csv(head)
        kept = KeptProtocol(about.place, time, about.caller.user, markdown, csv, markdown_digest, csv_digest)
        return SignedOff(kept, self._records, dict(made.states.most_common()))


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
        value="" if value is None else value_text(value, digits=9),
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
