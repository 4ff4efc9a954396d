"""Mapping lines for what came and no point takes: ready to paste, or put into a mapping file that passes the check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from twin_gateway.drivers.contract import NEW_DEVICES
from twin_gateway.engineering import proposal_coap, proposal_dlms
from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PlaceDraft, sort
from twin_gateway.engineering.emit import emit
from twin_gateway.engineering.flow import one_line
from twin_gateway.engineering.live_import import LiveImportError
from twin_gateway.engineering.live_import_targets import devices_of_file
from twin_gateway.engineering.merge import checked
from twin_gateway.engineering.proposal_rules import RULES, Known, NotProposedError, Row, places_known
from twin_gateway.engineering.text_edit import EditError, FileText
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.mapping.place import PlaceError, Places
from twin_gateway.mapping.problem import Problem

_GUESS: Final = (
    "Places below the device itself are guesses: move each line to where the datum belongs, and give it its unit and "
    "name."
)
_TRIES: Final = 9
_RULES: Final = {**RULES, "coap": proposal_coap.resource, "dlms": proposal_dlms.register}
_DEVICES: Final = {"coap": proposal_coap.endpoint, "dlms": proposal_dlms.meter}
"""Rules for points and for devices that are not known, by protocol."""


@dataclass(slots=True)
class LeftOut:
    """Something that no line is proposed for."""

    link: str
    what: str
    why: str
    hint: str = ""


@dataclass(slots=True)
class FileProposal:
    """What is proposed for one mapping file.

    Attributes:
        path: the file; where a new device is all there is, the one that --into names or the first of the mapping.
        draft: a mapping file of its own: the devices' sections with the new lines only.
        known: names of devices of the draft that the file has.
    """

    path: Path
    draft: FileDraft
    known: set[str] = field(default_factory=set)

    @property
    def text(self) -> str:
        """The draft as text; it passes the check by itself."""
        return emit(self.draft)


@dataclass(slots=True)
class Proposal:
    """Everything that is proposed, by file, and what is not."""

    files: list[FileProposal] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def propose(mapping: PointMapping, listed: Sequence[Mapping[str, Any]], into: Path | None = None) -> Proposal:
    """Lines for strays.

    Args:
        mapping: of the files as they are now.
        listed: what the control socket answers to `unmapped`.
        into: the file that is proposed for; lines of devices of other files are left out then.
    """
    return _Proposer(mapping, into).run(listed)


class _Proposer:
    def __init__(self, mapping: PointMapping, into: Path | None) -> None:
        self.devices = {device.name: device for device in mapping.devices}
        self.names = set(self.devices)
        self.known: dict[str, tuple[Known, set[int | str]]] = {}
        self.taken = {point.address for _, point in mapping.points()}
        self.retired = set(mapping.retired)
        self.into = into
        self.places = Places()
        self.out = Proposal()
        self.by_path: dict[Path, FileProposal] = {}

    def run(self, listed: Sequence[Mapping[str, Any]]) -> Proposal:
        for each in listed:
            device = self.devices.get(each["link"])
            for stray in each["strays"]:
                try:
                    if stray["reason"] in NEW_DEVICES:
                        self.device(each, stray)
                    elif device is None:
                        raise NotProposedError("the mapping files have no such device", "apply them first")
                    else:
                        self.point(device, stray)
                except NotProposedError as error:
                    self.out.left_out.append(LeftOut(each["link"], where(stray), str(error), error.hint))
        for proposal in self.by_path.values():
            sort(proposal.draft)
            proposal.draft.header = [f"What came and no point takes, for {proposal.path.name}.", _GUESS]
            self.out.files.append(proposal)
        return self.out

    def point(self, device: MappedDevice, stray: Mapping[str, Any]) -> None:
        rule = _RULES.get(device.protocol)
        if rule is None:
            raise NotProposedError(f"there are no rules for {device.protocol}")
        path = Path(device.file)
        if self.into is not None and path.resolve() != self.into.resolve():
            raise NotProposedError(f"{device.name} is in {path}", f"--into {path} puts it there")
        if device.name not in self.known:
            sources = {point.source for point in device.points}
            self.known[device.name] = Known(device, places_known(device)), sources
        known, sources = self.known[device.name]
        row = rule(known, stray)
        if device.spec.source(device.config, row.point.fields) in sources:
            raise NotProposedError("the mapping files have it already", "'twin-gateway apply' makes them count")
        address = self.free(device, row)
        row.point.comment = _said(stray)
        section = self.section(device, path)
        section.at_place(row.at).points.append(row.point)
        self.taken.add(address)

    def free(self, device: MappedDevice, row: Row) -> str:
        """The address of a row; its function gets another number while the address is taken."""
        grid, _, rest = device.place.partition("/")
        at = self.places.base(grid, rest)
        first = row.point.key
        for number in range(_TRIES):
            try:
                address = self.places.complete(self.places.at(at, row.at) if row.at else at, row.point.key)[0]
            except PlaceError as error:
                raise NotProposedError(f"'{row.point.key}' is no point: {error}", error.hint) from error
            if any(address == gone or address.startswith(f"{gone}/") for gone in self.retired):
                raise NotProposedError(f"{address} is retired and not used again")
            if address not in self.taken:
                return address
            if not row.guessed:
                break
            row.point.key = _renumbered(first, number + 2)
        raise NotProposedError(f"its place would be {address}, which is mapped already")

    def section(self, device: MappedDevice, path: Path) -> DeviceDraft:
        """The device's section in the draft of its file, with the settings that the file has."""
        proposal = self.by_path.get(path)
        if proposal is not None and device.name in proposal.known:
            return next(each for each in proposal.draft.devices if each.name == device.name)
        try:
            grid, targets = devices_of_file(path, device.protocol)
        except LiveImportError as error:
            raise NotProposedError(str(error), error.hint) from error
        target = next((each for each in targets if each.name == device.name), None)
        if target is None:
            raise NotProposedError(f"{path} has no section {device.name}", "has it been changed meanwhile?")
        proposal = self.file(path, grid or device.place.partition("/")[0])
        found = DeviceDraft(device.name, device.protocol, target.fields, target.place)
        proposal.known.add(device.name)
        proposal.draft.devices.append(found)
        return found

    def file(self, path: Path, grid: str) -> FileProposal:
        proposal = self.by_path.get(path)
        if proposal is None:
            proposal = self.by_path[path] = FileProposal(path, FileDraft(grid))
        return proposal

    def device(self, each: Mapping[str, Any], stray: Mapping[str, Any]) -> None:
        """A device that is not known, as a section of its own."""
        rule = _DEVICES.get(each["protocol"])
        like = self.devices.get(each["link"])
        if rule is None:
            raise NotProposedError(f"there are no rules for new devices of {each['protocol']}")
        if like is None and self.devices:
            like = next((one for one in self.devices.values() if one.protocol == each["protocol"]), None)
            like = like or next(iter(self.devices.values()))
        if like is None:
            raise NotProposedError("the mapping files have no device yet, so no place is known")
        made = rule(stray, self.names, like)
        path = self.into or Path(like.file)
        grid, _, rest = like.place.partition("/")
        made.place = rest
        made.comment = f"{made.comment} {_said(stray)}".strip()
        self.names.add(made.name)
        self.file(path, grid).draft.devices.append(made)


def _renumbered(key: str, number: int) -> str:
    """`GGIO2/Ind6` of `GGIO1/Ind6`."""
    *above, function, rest = key.split("/", key.count("/")) if key.count("/") == 1 else key.rsplit("/", 2)
    return "/".join((*above, f"{function.rstrip('0123456789')}{number}", rest))


def where(stray: Mapping[str, Any]) -> str:
    """Where a stray is: its fields on one line, without lists."""
    said = (f"{name} {value}" for name, value in stray["fields"].items() if not isinstance(value, list | bool))
    return one_line(", ".join(said))


def _said(stray: Mapping[str, Any]) -> str:
    """What is known of a stray, as a comment."""
    said = [str(stray["about"])] if stray["about"] else []
    if stray["value"]:
        said.append(f"last value {stray['value']}{' ' if stray['unit'] else ''}{stray['unit']}")
    if stray["count"]:
        said.append(f"came {stray['count']} times" if stray["count"] > 1 else "came once")
    if stray["last"]:
        said.append(f"last at {stray['last']}")
    return ", ".join(said)


def put_into(proposal: FileProposal) -> tuple[str | None, list[Problem]]:
    """The text of the file with the proposed lines behind those that are there; None when it would not pass the check.

    Nothing is written, and no line that is there is changed.
    """
    path = proposal.path
    try:
        file = FileText(path.read_bytes().decode())
        for device in proposal.draft.devices:
            if device.name not in proposal.known:
                file.add_device(device)
                continue
            for place in device.at:
                file.add_points(device.name, PlaceDraft(place.key, place.points, comment=place.comment), place.points)
    except (OSError, ValueError) as error:
        line = error.line if isinstance(error, EditError) else 1
        return None, [Problem(str(path), line, 1, "TG736", f"cannot put lines in here: {error}")]
    mapping, problems = checked(path, file.whole)
    return (file.whole if mapping is not None else None), problems
