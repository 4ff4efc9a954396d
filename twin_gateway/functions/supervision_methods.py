"""Methods of the supervision: report, revisions, services of links, maintenance (spec 7.3)."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from address_space import clock
from address_space.address import AddressError, parse
from address_space.ports import Argument, AuditRecord, Caller, MethodResult, MethodSpec, Right
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import ComparedDriver, LinkService
from twin_gateway.functions.slices import Slices
from twin_gateway.functions.supervision_requests import DeviceRequests
from twin_gateway.functions.supervision_results import FUNCTION, members, with_places_above
from twin_gateway.functions.supervision_store import Maintenance
from twin_gateway.twin.supervision.revision import Difference
from twin_gateway.twin.supervision.rollup import function_of, roll_up

if TYPE_CHECKING:
    from twin_gateway.functions.supervision import Supervision
    from twin_gateway.functions.supervision_devices import Device

_BOOLEAN, _INT, _DOUBLE, _STRING = 1, 6, 11, 12
MOST_DEVICES = 5_000
MAX_REASON = 500


def _text(name: str, description: str, *, many: bool = False) -> Argument:
    return Argument(name, _STRING, description, many)


_ANSWER = (_text("text", "what came of it"),)


class SupervisionMethods:
    """The methods; they stand on `twSUPV1` of the area."""

    def __init__(self, supervision: Supervision) -> None:
        self._of = supervision
        self._owner = function_of(supervision.context.place, FUNCTION)
        self._requests = DeviceRequests(self._owner, supervision.links.get, self._permits, self._audit)

    def specs(self) -> Sequence[MethodSpec]:
        """What is offered."""
        place = (_text("place", "address of a device or of a place above devices"),)
        link = (_text("link", "name of a link"),)
        report = (
            _text("devices", "places of the devices", many=True),
            Argument("states", _INT, "DeviceStateKind of each", True),
            _text("reasons", "why", many=True),
            _text("links", "link of each", many=True),
            _text("since", "time of the last change of state", many=True),
            Argument("availability", _DOUBLE, "percent over 30 days, -1 when not known", True),
            Argument("clockOffset", _DOUBLE, "s, not a number when not known", True),
            Argument("alarms", _INT, "active alarms at each", True),
            _text("summary", "one line for the whole place"),
        )
        revisions = (
            _text("items", "what is compared", many=True),
            _text("expected", "approved or accepted", many=True),
            _text("found", "as the device says it", many=True),
            Argument("matches", _BOOLEAN, "whether it is as expected", True),
        )
        maintain = (*place, Argument("on", _BOOLEAN, "work begins or ends"), _text("reason", "why, for the audit"))
        return (
            MethodSpec(self._owner, "DeviceReport", place, report, Right.READ, "Every device at and below a place"),
            MethodSpec(
                self._owner, "ReadRevisionDiff", place, revisions, Right.READ, "Revisions against approved ones"
            ),
            MethodSpec(self._owner, "AcceptRevision", place, _ANSWER, Right.CONFIGURE, "Accept what the device says"),
            MethodSpec(self._owner, "RequestGI", link, _ANSWER, Right.OPERATE, "General interrogation"),
            MethodSpec(self._owner, "RequestCounters", link, _ANSWER, Right.OPERATE, "Counters, as configured"),
            MethodSpec(self._owner, "TestLink", link, _ANSWER, Right.OPERATE, "Whether the application answers"),
            MethodSpec(self._owner, "SyncTime", link, _ANSWER, Right.CONFIGURE, "Set the clock of the device"),
            MethodSpec(
                self._owner, "SetMaintenance", maintain, _ANSWER, Right.OPERATE, "Suppress alarms while at work"
            ),
            *self._requests.specs(),
        )

    async def call(self, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Run one."""
        match name:
            case "DeviceReport":
                return await self._report(str(arguments[0]), caller)
            case "ReadRevisionDiff":
                return self._revisions(str(arguments[0]), caller)
            case "AcceptRevision":
                return await self._accept(str(arguments[0]), caller)
            case "RequestGI":
                return await self._serve(str(arguments[0]), LinkService.INTERROGATE, Right.OPERATE, caller)
            case "RequestCounters":
                return await self._serve(str(arguments[0]), LinkService.COUNTERS, Right.OPERATE, caller)
            case "TestLink":
                return await self._serve(str(arguments[0]), LinkService.TEST, Right.OPERATE, caller)
            case "SyncTime":
                return await self._serve(str(arguments[0]), LinkService.SYNCHRONISE, Right.CONFIGURE, caller)
            case "SetMaintenance":
                return await self._maintain(str(arguments[0]), bool(arguments[1]), str(arguments[2]), caller)
        asked = await self._requests.call(name, arguments, caller)
        return asked or MethodResult(StatusCode.BadMethodInvalid, (), f"there is no method {name}")

    # ---- reading --------------------------------------------------------------------------------------------------

    async def _report(self, place: str, caller: Caller) -> MethodResult:
        empty: tuple[Any, ...] = ((),) * 8
        if not self._permits(caller, Right.READ, place):
            return MethodResult(StatusCode.BadUserAccessDenied, (*empty, ""), "not allowed there")
        devices = [
            device
            for device in self._of.index.order
            if device.place == place or device.place.startswith(f"{place}/") or device.link == place
        ]
        if not devices:
            return MethodResult(StatusCode.BadNoMatch, (*empty, ""), f"there is no device at {place}")
        counted, devices = len(devices), devices[:MOST_DEVICES]
        slices = Slices()
        alarms: Counter[str] = Counter()
        for alarm in list(self._of.context.alarms.active()):
            alarms.update(with_places_above(alarm.address))
            await slices.pause()
        rows = []
        for device in devices:
            rows.append(self._line(device, alarms[device.place]))
            await slices.pause()
        roll = roll_up(members(devices))
        counts = ", ".join(f"{number} {state.name.lower()}" for state, number in sorted(roll.counts.items()))
        summary = f"{counted} devices: {counts}" + (f"; {roll.reason}" if roll.reason else "")
        if counted > len(devices):
            summary += f"; only the first {MOST_DEVICES} are listed"
        return MethodResult(StatusCode.Good, (*(list(column) for column in zip(*rows, strict=True)), summary))

    def _line(self, device: Device, alarms: int) -> tuple[Any, ...]:
        availability, link = device.ledger.availability(), self._of.links.get(device.link)
        timed = self._of.index.devices[link.address] if link is not None else device
        return (
            device.place,
            int(device.state.state),
            device.state.reason,
            device.link,
            clock.iso(device.changed) if device.changed else "",
            -1.0 if availability is None else availability,
            float("nan") if timed.clock.offset is None else timed.clock.offset,
            alarms,
        )

    def _revisions(self, place: str, caller: Caller) -> MethodResult:
        device, problem = self._find(place, Right.READ, caller)
        if device is None:
            return MethodResult(problem.status, ([], [], [], []), problem.text)
        link = self._of.links.get(device.link)
        lines = [*device.differences, *_of_model(link.driver if link is not None else None)]
        columns = (
            [line.item for line in lines],
            [line.expected for line in lines],
            [line.found for line in lines],
            [line.matches is True for line in lines],
        )
        return MethodResult(StatusCode.Good, columns)

    # ---- changing -------------------------------------------------------------------------------------------------

    async def _accept(self, place: str, caller: Caller) -> MethodResult:
        device, problem = self._find(place, Right.CONFIGURE, caller)
        if device is None:
            return MethodResult(problem.status, (problem.text,), problem.text)
        said = {line.item: line.found for line in device.differences if line.found}
        if not said:
            return _refused(StatusCode.BadInvalidState, f"{place} has not said any revision")
        await self._audit("supervision.accept", place, caller, said)
        try:
            await self._of.store.accept(place, said)
        except sqlite3.Error as error:
            return _refused(StatusCode.BadInternalError, f"it cannot be kept: {error}")
        device.accepted.update(said)
        fixed = [
            line.item for line in device.differences if line.matches is False and device.approved.allowed(line.item)
        ]
        text = "accepted: " + ", ".join(f"{item} {value}" for item, value in said.items())
        if fixed:
            text += f"; the settings approve something else for {', '.join(fixed)}, and they count first"
        return MethodResult(StatusCode.Good, (text,))

    async def _serve(self, name: str, service: LinkService, right: Right, caller: Caller) -> MethodResult:
        link = self._of.links.get(name)
        if link is None:
            return _refused(StatusCode.BadNoMatch, f"there is no link {name}")
        if not self._permits(caller, right, link.address):
            return _refused(StatusCode.BadUserAccessDenied, f"not allowed on {link.address}")
        await self._audit(f"link.{service}", link.address, caller, {})
        outcome = await link.serve(service)
        details = {"service": str(service)}
        await self._audit("link.outcome", link.address, caller, details, status=int(outcome.status), text=outcome.text)
        return MethodResult(outcome.status, (outcome.text,), outcome.text)

    async def _maintain(self, place: str, on: bool, reason: str, caller: Caller) -> MethodResult:
        try:
            place = parse(place).text
        except AddressError as error:
            return _refused(StatusCode.BadInvalidArgument, str(error))
        if self._of.context.table.tree.find(place) < 0:
            return _refused(StatusCode.BadNoMatch, f"there is no {place}")
        if not self._permits(caller, Right.OPERATE, place):
            return _refused(StatusCode.BadUserAccessDenied, f"not allowed on {place}")
        if on and not 0 < len(reason.strip()) <= MAX_REASON:
            return _refused(StatusCode.BadInvalidArgument, f"a reason of at most {MAX_REASON} characters is needed")
        await self._audit("maintenance.begin" if on else "maintenance.end", place, caller, {"reason": reason})
        entry = Maintenance(caller.user, clock.now(), reason) if on else None
        try:
            await self._of.store.maintain(place, entry)
        except sqlite3.Error as error:
            return _refused(StatusCode.BadInternalError, f"it cannot be kept: {error}")
        if entry is not None:
            self._of.maintenance[place] = entry
        else:
            self._of.maintenance.pop(place, None)
        self._of.remark(place)
        text = f"{place} is {'in' if on else 'no longer in'} maintenance"
        self._of.context.alarms.event("maintenance", place, text, 200, actor=caller.user)
        return MethodResult(StatusCode.Good, (text,))

    # ---- common ---------------------------------------------------------------------------------------------------

    def _find(self, place: str, right: Right, caller: Caller) -> tuple[Device | None, MethodResult]:
        if not self._permits(caller, right, place):
            return None, MethodResult(StatusCode.BadUserAccessDenied, (), f"not allowed on {place}")
        link = self._of.links.get(place)
        device = self._of.index.devices.get(link.address if link is not None else place)
        return device, MethodResult(StatusCode.BadNoMatch, (), f"there is no device at {place}")

    def _permits(self, caller: Caller, right: Right, address: str) -> bool:
        return self._of.context.policy.permits(caller, right, address)

    async def _audit(
        self, kind: str, address: str, caller: Caller, details: dict[str, str], *, status: int = 0, text: str = ""
    ) -> None:
        record = AuditRecord(clock.now(), kind, caller.user, caller.client, address, "", status, text, details)
        await self._of.context.audit.append(record)


def _refused(status: int, text: str) -> MethodResult:
    return MethodResult(status, (text,), text)


def _of_model(driver: object) -> list[Difference]:
    """What the driver has found by comparing the device with the description of it."""
    if not isinstance(driver, ComparedDriver):
        return []
    return [Difference(line.item, line.expected, line.found, matches=False) for line in driver.differences]
