"""Load profiles: which column belongs to which point, what is still to be read, and rows as late samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from address_space import clock as ticks
from address_space.point import Batch
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms import obis, quality
from twin_gateway.drivers.dlms.axdr import BitString, Value
from twin_gateway.drivers.dlms.buffer import BUFFER, Buffer, Piece, Row, Rules, Shape, new_rows, remembered, shape_from
from twin_gateway.drivers.dlms.config import attribute_of
from twin_gateway.drivers.dlms.contact import Contact, Site
from twin_gateway.drivers.dlms.errors import DlmsError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.positions import Positions
from twin_gateway.drivers.dlms.scales import Scale
from twin_gateway.drivers.dlms.tables import status_word

_log = logging.getLogger(__name__)

_OVERLAP = timedelta(seconds=1)


def profiles_of(points: Sequence[BoundPoint]) -> dict[bytes, list[BoundPoint]]:
    """Profiles that the points name, by logical name."""
    out: dict[bytes, list[BoundPoint]] = {}
    for point in points:
        if point.fields.get("profile"):
            out.setdefault(obis.parse(str(point.fields["profile"])), []).append(point)
    return out


@dataclass(slots=True)
class Columns:
    """Where the columns of one profile are.

    Attributes:
        points: (column, point) of each mapped column.
        status: column of the status octet; -1 when there is none.
        missing: points whose register the profile does not capture.
    """

    points: list[tuple[int, BoundPoint]] = field(default_factory=list)
    status: int = -1
    missing: list[BoundPoint] = field(default_factory=list)


def columns_of(shape: Shape, points: Sequence[BoundPoint]) -> Columns:
    """Columns of the points in a profile; the status is data 0-b:96.10.x."""
    columns = Columns()
    captured: dict[Attribute, int] = {}
    for at, attribute in enumerate(shape.captured):
        captured.setdefault(attribute, at)
        a, _, c, d = attribute.logical_name[:4]
        if columns.status < 0 and attribute.class_id == obis.DATA and (a, c, d) == (0, 96, 10):
            columns.status = at
    for point in points:
        column = captured.get(attribute_of(point.fields))
        if column is None:
            columns.missing.append(point)
        else:
            columns.points.append((column, point))
    return columns


def rows_to_batch(rows: Sequence[Row], columns: Columns, scales: Sequence[Scale | None], table: str = "") -> Batch:
    """Late samples from profile rows, in order.

    Args:
        rows: new ones.
        columns: of columns_of.
        scales: one for each of columns.points; None leaves that column out.
        table: name of the table of status bits; without one the status says nothing.
    """
    out_rows: list[int] = []
    values: list[float] = []
    words: list[int] = []
    times: list[int] = []
    for row in rows:
        if row.time.utc is None:
            continue
        word, moment = quality.of_time(row.time), ticks.from_datetime(row.time.utc)
        if table and 0 <= columns.status < len(row.cells):
            word |= status_word(table, _status(row.cells[columns.status]))
        for (column, point), scale in zip(columns.points, scales, strict=True):
            raw = row.cells[column] if column < len(row.cells) else None
            if scale is None or isinstance(raw, bool) or not isinstance(raw, int | float):
                continue
            out_rows.append(point.row)
            values.append(scale(raw))
            words.append(word)
            times.append(moment)
    return Batch.of(out_rows, values, words, times, late=True)


def _status(cell: Value) -> int:
    """A status as a number, bit 0 the lowest."""
    if isinstance(cell, BitString):
        return int.from_bytes(cell.octets, "big") >> (-cell.length % 8)
    if isinstance(cell, bytes) and len(cell) <= 8:
        return int.from_bytes(cell, "big")
    return cell if isinstance(cell, int) and cell >= 0 else 0


@dataclass(slots=True)
class _Profile:
    buffer: Buffer
    columns: Columns


class Scales(Protocol):
    """What is known of the scales of points."""

    def scale_for(self, point: BoundPoint) -> Scale | None:
        """The scale of a point; None where there is none."""
        ...

    def awaits_scaler(self, point: BoundPoint) -> bool:
        """Whether it is only not known yet."""
        ...


class ProfileReader:
    """The load profiles of one device.

    Args:
        positions: of the device, on disk.
        scales: the scales of its points as they are now.

    Attributes:
        waits: a profile was left for the next time, as the scaler of a register in it is not known yet.
    """

    def __init__(self, positions: Positions, scales: Callable[[], Scales]) -> None:
        self._positions = positions
        self._scales = scales
        self.waits = False
        self._profiles: dict[bytes, _Profile] = {}

    def forget_columns(self) -> None:
        """A new association or other points: columns are read again."""
        self._profiles.clear()

    async def read(self, contact: Contact, points: Sequence[BoundPoint]) -> bool:
        """Reads one piece of each profile; whether more of the past is still to come.

        Raises:
            OSError: the connection ended.
        """
        more, self.waits, scales = False, False, self._scales()
        for name, wanted in profiles_of(points).items():
            # A row that is taken is done with: none before all of it can be understood.
            if any(scales.awaits_scaler(point) for point in wanted):
                self.waits = True
                continue
            try:
                more |= await self._read(contact, name, wanted)
            except DlmsError as error:
                contact.failed(error)
                contact.link.count("profile_errors")
                contact.link.error(f"profile {obis.text(name)} cannot be read: {error}", wanted[0].address)
        return more

    async def _read(self, contact: Contact, name: bytes, points: list[BoundPoint]) -> bool:
        profile = self._profiles.get(name)
        if profile is None:
            shape = await shape_from(contact, name)
            profile = self._profiles[name] = self._made(contact, name, shape, points)
        if profile.buffer.shape.clock < 0 or not profile.columns.points:
            return False
        piece = await profile.buffer.read(contact)
        self._deliver(contact, profile, piece)
        return piece.more

    def _made(self, contact: Contact, name: bytes, shape: Shape, points: list[BoundPoint]) -> _Profile:
        columns, overlap = columns_of(shape, points), _OVERLAP + timedelta(seconds=2 * shape.period)
        for point in columns.missing:
            text = f"{point.address}: profile {obis.text(name)} does not capture {point.fields['obis']}"
            contact.link.event("mapping", text, severity=500, address=point.address)
        config = contact.config
        buffer = Buffer(
            name,
            shape,
            self._positions.get(name, remembered(shape.period, overlap)),
            Rules(contact.zone, config.deviation_sign, config.null_repeats),
            depth=timedelta(seconds=config.profile_depth),
            overlap=overlap,
        )
        return _Profile(buffer, columns)

    def pushed_among(self, site: Site, values: Mapping[Attribute, Value]) -> None:
        """Takes the rows of profiles that the meter pushed among other values."""
        for attribute, value in values.items():
            if attribute.class_id != obis.PROFILE or attribute.number != BUFFER:
                continue
            try:
                if not self.pushed(site, attribute.logical_name, value):
                    site.link.count("push_rows_unassigned")
            except DlmsError as error:
                site.link.count("push_errors")
                site.link.error(f"pushed rows of {attribute} cannot be read: {error}")

    def pushed(self, site: Site, name: bytes, rows: Value) -> bool:
        """Takes rows that the meter pushed; False when its columns or scalers are not known yet: they are read later.

        Raises:
            MalformedApduError: they are no rows.
        """
        profile = self._profiles.get(name)
        if profile is None or profile.buffer.shape.clock < 0:
            return False
        scales = self._scales()
        if any(scales.awaits_scaler(point) for _, point in profile.columns.points):
            return False
        rules = Rules(site.zone, site.config.deviation_sign, site.config.null_repeats)
        # `until` stays: what lies between it and these rows is still to be read.
        self._deliver(site, profile, new_rows(rows, profile.buffer.shape, profile.buffer.position, rules))
        return True

    def _deliver(self, site: Site, profile: _Profile, piece: Piece) -> None:
        link, columns = site.link, profile.columns
        if piece.lost is not None:
            first, last = (moment.isoformat(timespec="seconds") for moment in piece.lost)
            text = (
                f"Rows of profile {obis.text(profile.buffer.name)} of meter {site.name} from {first} to {last} "
                "were overwritten before they could be read, or are too many"
            )
            link.event("D08", text, severity=650)
            link.count("profile_losses")
        if piece.bad:
            link.count("profile_rows_unreadable", piece.bad)
        if piece.again:
            link.count("profile_rows_again", piece.again)
        if piece.known:
            link.count("profile_rows_known", piece.known)
        known = self._scales()
        scales = [known.scale_for(point) for _, point in columns.points]
        batch = rows_to_batch(piece.rows, columns, scales, site.config.status_bits or "")
        if len(batch.rows):
            link.publish(batch)
            link.count("profile_rows", len(batch.rows))
        self._positions.delivered()
        self._positions.flush(link.kept_until())
