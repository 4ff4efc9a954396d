"""The requests `commission.*` of the control socket: points shown, recorded, tested, approved, and signed off."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from address_space import clock
from address_space.ports import AuditRecord, Right
from twin_gateway.commands.tags import one_line
from twin_gateway.commissioning.live_request import number_of
from twin_gateway.commissioning.place import PlacePoint, Places
from twin_gateway.commissioning.reading import Reading, now_text, reading_of
from twin_gateway.commissioning.record import (
    Approval,
    CommandTest,
    Known,
    Record,
    Result,
    State,
    standing_of,
)
from twin_gateway.commissioning.sessions import Session, Sessions
from twin_gateway.commissioning.signing import Draft, SignOff
from twin_gateway.commissioning.store import FILE, CommissioningStore, KeptProtocol
from twin_gateway.commissioning.testing import can_say_test, test_command, way_of
from twin_gateway.control import ControlError, Handler
from twin_gateway.drivers.contract import LinkService
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.slices import Slices
from twin_gateway.revisions import Revision

if TYPE_CHECKING:
    from twin_gateway.gateway import Gateway

PAGE: Final = 200
"""Points in one answer."""
TEXT_PAGE: Final = 100_000
"""Characters of a protocol in one answer."""
_NOTE: Final = 500
_REFRESH_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Found:
    """What somebody found at a point."""

    result: Result
    reading: Reading
    note: str = ""
    bulk: bool = False


class Commissioning:
    """What people find at the points of a gateway, kept.

    Attributes:
        store: the records.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._of = gateway
        self.store = CommissioningStore(gateway.config.data_directory / FILE)
        self._places = Places(gateway)
        self._sessions = Sessions(gateway.policy)

    @property
    def handlers(self) -> dict[str, Handler]:
        """What can be asked."""
        acts: dict[str, Handler] = {
            "begin": self._begin,
            "end": self._end,
            "list": self._list,
            "refresh": self._refresh,
            "show": self._show,
            "record": self._record,
            "bulk": self._bulk,
            "test": self._test,
            "approve": self._approve,
            "sign": self._sign,
            "report": self._report,
            "text": self._read,
            "verify": self._verify,
        }
        return {f"commission.{name}": act for name, act in acts.items()}

    # ---- sessions ------------------------------------------------------------------------------------------------

    async def _begin(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        place = self._places.canonical(_text(asked, "place"))
        points = await self._places.points(place)
        token, session = await self._sessions.begin(_text(asked, "user"), _text(asked, "password"), place)
        try:
            await self._audited(session, "commission.begun", place, "", {})
        except BaseException:
            self._sessions.end({"token": token})
            raise
        permits, caller = self._of.policy.permits, session.caller
        return {
            "token": token,
            "place": place,
            "gateway": self._of.config.gateway,
            "points": len(points),
            "devices": sorted({point.device for point in points.values()}),
            "user": caller.user,
            "roles": sorted(caller.roles),
            "may": {
                "record": permits(caller, Right.COMMISSION, place),
                "approve": permits(caller, Right.CONFIGURE, place),
                "command": any(permits(caller, right, place) for right in (Right.OPERATE, Right.CONFIGURE)),
            },
        }

    async def _end(self, asked: Mapping[str, Any]) -> None:
        self._sessions.end(asked)

    # ---- looking -------------------------------------------------------------------------------------------------

    async def _list(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        session = self._sessions.of(asked)
        points = await self._places.points(session.place)
        start = int(number_of(asked, "offset", 0))
        some = list(points.values())[start : start + PAGE]
        known = await self.store.known_of([point.address for point in some])
        lines = []
        for point in some:
            standing = standing_of(known.get(point.address, Known()), point.binding)
            lines.append(
                {
                    "address": point.address,
                    "state": standing.state,
                    "why": standing.why,
                    "ready": standing.ready,
                    "recorded": _recorded(known.get(point.address), point),
                }
            )
        return {"points": lines, "total": len(points)}

    async def _refresh(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Have every value of a device delivered anew."""
        points = await self._places.points(self._sessions.of(asked).place)
        name = _text(asked, "device")
        if all(point.device != name for point in points.values()):
            raise ControlError(f"no point of the place is of a device {name!r}")
        link = self._of.plant.link(name)
        if link is None:
            raise ControlError(f"there is no device {name!r}")
        if link.state is not LinkState.UP:
            return {"good": False, "text": f"link {name} is {link.state}: {link.reason}".rstrip(": ")}
        try:
            async with asyncio.timeout(_REFRESH_S):
                outcome = await link.serve(LinkService.INTERROGATE)
        except TimeoutError:
            return {"good": False, "text": f"{name} did not answer within {_REFRESH_S:g} s"}
        return {"good": outcome.good, "text": outcome.text}

    async def _show(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        session = self._sessions.of(asked)
        point = await self._point(session, asked)
        reading = self._reading(point)
        session.show(reading, point.binding)
        known = await self._known_at(point.address)
        standing = standing_of(known, point.binding)
        return {
            "reading": reading.as_json(),
            "age_s": _age(reading),
            "link": self._link_state(reading.device or point.device),
            "binding": point.binding.text,
            "state": standing.state,
            "why": standing.why,
            "command": self._command(point, known),
        }

    def _command(self, point: PlacePoint, known: Known) -> dict[str, Any] | None:
        target = self._of.desk.target(point.address)
        if target is None:
            return None
        way = way_of(self._of.table, target, point.commanded_by)
        test, digest = known.test, point.binding.command_digest
        approved = known.approval is not None and known.approval.digest == digest
        return {
            "binding": point.binding.command_text,
            "model": target.model,
            "way": way.tested,
            "why": way.why,
            "tested": f"{test.tested}: {test.text}" if test is not None and test.digest == digest else "",
            "approved_by": known.approval.user if known.approval is not None and approved else "",
        }

    # ---- recording -----------------------------------------------------------------------------------------------

    async def _record(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        session = self._sessions.of(asked)
        point = await self._point(session, asked)
        self._sessions.of(asked, Right.COMMISSION, point.address)
        try:
            result = Result(_text(asked, "result"))
        except ValueError:
            raise ControlError(f"a result is one of {', '.join(Result)}") from None
        reading, binding = session.shown.get(point.address, (None, None))
        if reading is None:
            raise ControlError(f"{point.address} has not been shown, or it was long ago: look at it again")
        if binding != point.binding:
            raise ControlError(f"the binding of {point.address} has changed since it was shown: look at it again")
        if result is Result.CONFIRMED and not reading.good and point.binding.digest:
            raise ControlError(f"its quality is {reading.status}: only a good value can be confirmed; fail or skip it")
        note = one_line(_text(asked, "note", "")[:_NOTE])
        record = self._made(session, point, _Found(result, reading, note))
        approvals = self._own_approval(session, point) if result is Result.CONFIRMED else []
        await self._audited(session, f"commission.{result}", point.address, note, _evidence(record))
        await self._add(records=[record], approvals=approvals)
        session.shown.pop(point.address, None)
        standing = standing_of(await self._known_at(point.address), point.binding)
        return {"state": standing.state, "why": standing.why}

    def _own_approval(self, session: Session, point: PlacePoint) -> list[Approval]:
        """An engineer who confirms a commanded point has looked at its command binding."""
        caller, digest = session.caller, point.binding.command_digest
        if not digest or not self._of.policy.permits(caller, Right.CONFIGURE, point.address):
            return []
        return [Approval(point.address, digest, caller.user, now_text())]

    async def _bulk(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Confirm what has a good and fresh value, a page of points; commanded points are looked at one by one."""
        session = self._sessions.of(asked, Right.COMMISSION)
        fresh = number_of(asked, "fresh", 300.0)
        start = int(number_of(asked, "offset", 0))
        points = await self._places.points(session.place)
        some = list(points.values())[start : start + PAGE]
        known = await self.store.known_of([point.address for point in some])
        records, left, slices = list[Record](), list[tuple[str, str]](), Slices()
        for point in some:
            why = self._not_in_bulk(point, known.get(point.address, Known()), fresh)
            if why:
                left.append((point.address, why))
            elif why is not None:
                found = _Found(Result.CONFIRMED, self._reading(point), bulk=True)
                records.append(self._made(session, point, found))
            await slices.pause()
        if records:
            addresses = [record.address for record in records]
            await self._audited(session, "commission.bulk", session.place, "", {"addresses": addresses})
            await self._add(records=records)
        reached = start + PAGE
        return {"accepted": len(records), "left": left, "next": reached if reached < len(points) else None}

    def _not_in_bulk(self, point: PlacePoint, known: Known, fresh: float) -> str | None:
        """Why a point is not confirmed with others; empty when it is, None when it has been confirmed before."""
        before = _recorded(known, point)
        if before == Result.CONFIRMED:
            return None
        if before and known.record is not None:
            return f"{before} by {known.record.user}: look at it by itself"
        if point.binding.command_digest:
            return "it is commanded: look at it by itself"
        reading = self._reading(point)
        if not reading.good:
            return reading.status
        age = _age(reading)
        return f"its value is {age:.0f} s old" if age is None or age > fresh else ""

    async def _test(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        session = self._sessions.of(asked)
        point = await self._point(session, asked)
        self._sessions.of(asked, Right.COMMISSION, point.address)
        value = asked.get("value")
        if not isinstance(value, bool | int | float):
            raise ControlError("`value` is a number, or true or false")
        target = self._of.desk.target(point.address)
        if target is None:
            raise ControlError(f"{point.address} is not commanded")
        way = way_of(self._of.table, target, point.commanded_by)
        flagged = can_say_test(point.commanded_by)
        run = await test_command(self._of.desk, way, target, value, session.caller, flagged=flagged)
        details = {"commandIds": list(run.command_ids)}
        await self._audited(session, "commission.test", point.address, f"{run.tested}: {run.text}", details)
        if run.reached:
            test = CommandTest(
                point.address,
                point.binding.command_digest,
                run.tested,
                str(value) if run.command_ids else "",
                one_line(run.text[:_NOTE]),
                session.caller.user,
                now_text(),
                run.command_ids,
            )
            await self._add(tests=[test])
        return {"tested": run.tested, "text": run.text}

    async def _approve(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Approve the command binding of a point, or of all below the place when no address is named."""
        session = self._sessions.of(asked, Right.CONFIGURE)
        if asked.get("address"):
            points: Sequence[PlacePoint] = [await self._point(session, asked)]
        else:
            points = list((await self._places.points(session.place)).values())
        commanded = [point for point in points if point.binding.command_digest]
        known = await self.store.known_of([point.address for point in commanded])
        approvals = []
        for point in commanded:
            digest, before = point.binding.command_digest, known.get(point.address, Known()).approval
            if before is None or before.digest != digest:
                approvals.append(Approval(point.address, digest, session.caller.user, now_text()))
        if approvals:
            addresses = [each.address for each in approvals]
            await self._audited(session, "commission.approved", session.place, "", {"addresses": addresses})
            await self._add(approvals=approvals)
        return {"approved": [each.address for each in approvals]}

    # ---- signing -------------------------------------------------------------------------------------------------

    async def _sign(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        session = self._sessions.of(asked, Right.COMMISSION)
        mapping, revision = self._of.mapping, self._revision()
        points = await self._places.points(session.place)
        recorded = await self.store.recorded(session.place)
        if not recorded:
            raise ControlError(f"nobody has looked at a point of {session.place} yet: there is nothing to sign")
        remark = one_line(_text(asked, "remark", "")[:_NOTE])
        draft = Draft(SignOff(session.place, self._of.config.gateway, session.caller, remark, revision), mapping)
        # A page at a time: a thread that makes all of it in one go would hold up the event loop too.
        for some in _pages([*points, *(address for address in recorded if address not in points)]):
            known, names = await self.store.known_of(some), {address: self._name(address) for address in some}
            await asyncio.to_thread(draft.add, {address: points.get(address) for address in some}, known, names)
        signed = await asyncio.to_thread(draft.signed)
        details = {"markdown": signed.protocol.markdown_digest, "csv": signed.protocol.csv_digest}
        await self._audited(session, "commission.signed", session.place, remark, details)
        try:
            await self.store.sign(signed.protocol, signed.records)
        except sqlite3.Error as error:
            raise ControlError(f"the sign-off cannot be kept: {error}") from error
        return {"signed": len(signed.records), "states": signed.states, **_head(signed.protocol)}

    async def _report(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        place = _text(asked, "place")
        found = await self.store.protocol(place)  # it outlives the place that it is about
        if found is None:
            place = self._places.canonical(place)
            found = await self.store.protocol(place)
        if found is None:
            raise ControlError(f"no protocol of {place} has been signed")
        void = await self._void(place)
        return {**_head(found), "void": void[:PAGE], "void_count": len(void)}

    async def _read(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A part of the text of a protocol, by its digest."""
        start = int(number_of(asked, "offset", 0))
        found = await self.store.text(_text(asked, "digest"), start, TEXT_PAGE)
        if found is None:
            raise ControlError("there is no such protocol")
        return {"text": found[0], "length": found[1]}

    async def _void(self, place: str) -> list[tuple[str, str]]:
        """Points whose records do not count any more."""
        points = await self._places.found(place)
        void = []
        for some in _pages([address for address in await self.store.recorded(place) if address in points]):
            for address, known in (await self.store.known_of(some)).items():
                standing = standing_of(known, points[address].binding)
                if standing.state is State.VOID:
                    void.append((address, standing.why))
        return void

    async def _verify(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        found = await self.store.protocol_with(_text(asked, "digest"))
        return None if found is None else {"place": found.place, "time": found.time, "user": found.user}

    # ---- parts ---------------------------------------------------------------------------------------------------

    async def _point(self, session: Session, asked: Mapping[str, Any]) -> PlacePoint:
        address = _text(asked, "address")
        point = (await self._places.points(session.place)).get(address)
        if point is None:
            raise ControlError(f"{address} is no mapped point at or below {session.place}")
        return point

    async def _known_at(self, address: str) -> Known:
        return (await self.store.known_of([address])).get(address, Known())

    def _reading(self, point: PlacePoint) -> Reading:
        table = self._of.table
        row = table.find(point.address)
        if row < 0:
            raise ControlError(f"{point.address} has just been removed from the mapping")
        link = self._of.plant.link(table.binding(row)[0])
        error = link.last_errors.get(point.address, (0, ""))[1] if link is not None else ""
        return reading_of(table, row, error, binding=point.binding.digest)

    def _name(self, address: str) -> str:
        row = self._of.table.find(address)
        return self._of.table.display_name(row) if row >= 0 else ""

    def _link_state(self, name: str) -> str:
        link = self._of.plant.link(name)
        return "" if link is None else f"{link.name} is {link.state}" + (f": {link.reason}" if link.reason else "")

    def _made(self, session: Session, point: PlacePoint, found: _Found) -> Record:
        caller = session.caller
        return Record(
            0,
            point.address,
            found.result,
            found.bulk,
            caller.user,
            tuple(sorted(caller.roles)),
            now_text(),
            found.note,
            found.reading.as_json(),
            point.binding,
            self._of.changes.hash(),
        )

    def _revision(self) -> Revision | None:
        """What the gateway runs with; None when that is not kept."""
        running = self._of.changes.revision
        return running.revision if running is not None else None

    async def _add(self, **what: Any) -> None:
        try:
            await self.store.add(**what)
        except sqlite3.Error as error:
            raise ControlError(f"it cannot be kept: {error}") from error

    async def _audited(self, session: Session, kind: str, address: str, text: str, details: Mapping[str, Any]) -> None:
        caller = session.caller
        roles = {"roles": sorted(caller.roles)}
        record = AuditRecord(
            clock.now(), kind, caller.user, caller.client, address, text=text, details={**details, **roles}
        )
        try:
            await self._of.audit.append(record)
        except sqlite3.Error as error:
            raise ControlError(f"nothing is kept: the audit journal cannot be written ({error})") from error


def _recorded(known: Known | None, point: PlacePoint) -> str:
    """The last result at a point with the binding that it has now; empty when there is none."""
    record = known.record if known is not None else None
    return record.result if record is not None and record.binding == point.binding else ""


def _head(protocol: KeptProtocol) -> dict[str, Any]:
    """All of a protocol but its texts."""
    names = ("place", "time", "user", "markdown_digest", "csv_digest")
    return {name: getattr(protocol, name) for name in names}


def _evidence(record: Record) -> dict[str, Any]:
    reading = record.reading
    return {
        "value": reading["value"],
        "status": reading["status"],
        "binding": record.binding.digest,
        "commandBinding": record.binding.command_digest,
    }


def _age(reading: Reading) -> float | None:
    """Seconds since the sample came; None before the first."""
    if not reading.received:
        return None
    return round((clock.now() - clock.from_iso(reading.received)) / clock.TICKS_PER_SECOND, 3)


def _pages(addresses: Sequence[str]) -> Iterator[Sequence[str]]:
    return (addresses[start : start + PAGE] for start in range(0, len(addresses), PAGE))


def _text(asked: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = asked.get(name, default)
    if not isinstance(value, str):
        raise ControlError(f"`{name}` is a text")
    return value
