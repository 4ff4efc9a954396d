"""Whole models: `all: LD0` turned into points, from an SCL file now or from the device itself at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from address_space.catalogue import CDCS
from twin_gateway.mapping.bind import Binder, Shared
from twin_gateway.mapping.lines import Line
from twin_gateway.mapping.model import MappedDevice, WholeModel
from twin_gateway.mapping.place import Places
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import Map, Source

_SWITCHES: Final = ("XCBR", "XSWI")


@dataclass(frozen=True, slots=True)
class Offer:
    """One data object that a device offers: its reference `LD0/MMXU1.A.phsB` and its CDC as far as it is known."""

    reference: str
    cdc: str


@dataclass(slots=True)
class Expanded:
    """What became of a whole model.

    Attributes:
        points: one for every offered data object that no other line of the device names.
        left_out: references that the catalogue does not know, or not as a point.
    """

    points: list[MappedPoint] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def expand_whole(
    device: MappedDevice,
    request: WholeModel,
    offers: Iterable[Offer],
    *,
    places: Places | None = None,
    profiles: dict[Any, Shared] | None = None,
) -> Expanded:
    """The points of a whole model, names kept: `LD0/MMXU1.A.phsB` becomes `<place>/MMXU1/A/phsB`.

    Data objects that some other line of the device names already are left to that line. What can be commanded is, with
    the model that the device says, but for breakers and switches: they are commanded through their CSWI, or by a line.
    """
    out = Expanded()
    binder = Binder(device, places or Places(), profiles if profiles is not None else {})
    levels = tuple(request.place.split("/"))
    named = {point.source for point in device.points}
    for offer in offers:
        fields: dict[str, Any] = {"ref": offer.reference}
        if device.spec.source(device.config, fields) in named:
            continue
        key = offer.reference.partition("/")[2].replace(".", "/")
        known = CDCS.get(offer.cdc)
        # What goes wrong with one of them is no fault of the file: it is reported into an empty sheet and left out.
        sheet = Source(request.file, Path(request.file))
        point = binder.bind(levels, _line(key, fields, sheet), "read")
        function = key.partition("/")[0].rstrip("0123456789")
        commanded = known is not None and known.controllable and not function.endswith(_SWITCHES)
        if point is not None and commanded and CDCS[point.profile.cdc].controllable:
            point = binder.bind(levels, _line(key, {**fields, "control": "device"}, sheet), "read") or point
        if point is None or (known is not None and known.container):
            out.left_out.append(offer.reference)
            continue
        point.line, point.col = request.line, request.col
        out.points.append(point)
    return out


def _line(key: str, fields: dict[str, Any], sheet: Source) -> Line:
    layer = Map(fields)
    layer.start, layer.marks = 0, [0] * (2 * len(fields))
    return Line(key, sheet, 0, layer, ((sheet, layer),))


class SclError(ValueError):
    """The SCL file cannot be read, or has no such device; the message says which."""


def offers_of_scl(path: Path, ied: str | None, logical_device: str) -> Sequence[Offer]:
    """What a logical device of an SCL file offers.

    Raises:
        SclError: when the file or the logical device cannot be found.
    """
    # The 61850 stack is loaded only by mappings that name an SCL file.
    from twin_gateway.drivers.iec61850.errors import ModelError  # noqa: PLC0415
    from twin_gateway.drivers.iec61850.points import points_of  # noqa: PLC0415
    from twin_gateway.drivers.iec61850.scl import read_scl  # noqa: PLC0415

    try:
        return [Offer(point.reference, point.cdc) for point in points_of(read_scl(path, ied), logical_device)]
    except ModelError as error:
        raise SclError(str(error)) from error


def faults_against_scl(path: Path, ied: str | None, points: Iterable[MappedPoint]) -> list[tuple[MappedPoint, str]]:
    """Points whose reference the SCL file does not have, each with a sentence.

    Raises:
        SclError: when the file cannot be read or has no such IED.
    """
    from twin_gateway.drivers.iec61850.errors import ModelError  # noqa: PLC0415
    from twin_gateway.drivers.iec61850.points import Reference, resolve  # noqa: PLC0415
    from twin_gateway.drivers.iec61850.scl import read_scl  # noqa: PLC0415

    try:
        model = read_scl(path, ied)
    except ModelError as error:
        raise SclError(str(error)) from error
    found: list[tuple[MappedPoint, str]] = []
    for point in points:
        try:
            resolve(model, Reference.parse(str(point.fields["ref"])), point.profile.cdc)
        except (ModelError, ValueError) as error:
            found.append((point, str(error)))
    return found


def goose_faults(device: MappedDevice) -> list[tuple[MappedPoint, str]]:
    """Points of GOOSE subscriptions that the SCL file has no control block, data set or member for."""
    from twin_gateway.drivers.iec61850.goose.config import GooseConfig  # noqa: PLC0415
    from twin_gateway.drivers.iec61850.goose.dataset import faults  # noqa: PLC0415

    if not isinstance(device.config, GooseConfig):
        return []
    found = faults(device.config, [point.bound(row) for row, point in enumerate(device.points)])
    return [(device.points[point.row], message) for point, message in found]


def apply_scl(
    device: MappedDevice, places: Places, profiles: dict[Any, Shared], report: Callable[[Problem], None]
) -> None:
    """Compare the points of a device with its SCL file and expand its whole models from it; nothing without a file."""
    path: str | None = getattr(device.config, "scl", None)
    if path is None or not Path(path).is_file():
        return
    if device.protocol == "goose":
        for point, message in goose_faults(device):
            report(Problem(point.file, point.line, point.col, "TG607", message, f"as in {Path(path).name}"))
        return
    ied: str | None = getattr(device.config, "ied", None)
    try:
        for point, message in faults_against_scl(Path(path), ied, device.points):
            report(Problem(point.file, point.line, point.col, "TG607", message, f"as in {Path(path).name}"))
    except SclError as error:
        report(Problem(device.file, device.line, device.col, "TG607", f"scl: {error}"))
        return
    requests, device.whole = device.whole, []
    for request in requests:
        try:
            offers = offers_of_scl(Path(path), ied, request.logical_device)
        except SclError as error:
            report(Problem(request.file, request.line, request.col, "TG607", f"all: {error}"))
            continue
        expanded = expand_whole(device, request, offers, places=places, profiles=profiles)
        device.points.extend(expanded.points)
        if expanded.left_out:
            count, first = len(expanded.left_out), ", ".join(expanded.left_out[:3])
            what = f"all: {count} data objects are not in the catalogue and left out: {first}{', …' * (count > 3)}"
            report(Problem(request.file, request.line, request.col, "TG609", what, severity="warning"))
