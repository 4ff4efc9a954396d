"""Event logs: profiles of time and code, read incrementally and told as events with the meter's time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from address_space import clock as ticks
from twin_gateway.drivers.dlms import obis, quality
from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.buffer import Buffer, Piece, Row, Rules, Shape, shape_from
from twin_gateway.drivers.dlms.contact import Contact
from twin_gateway.drivers.dlms.errors import AccessError, DlmsError
from twin_gateway.drivers.dlms.positions import RECENT_EVENTS, Positions
from twin_gateway.drivers.dlms.reading import text_of
from twin_gateway.drivers.dlms.tables import UNKNOWN_CODE, event_codes

_OVERLAP = timedelta(minutes=10)
_MOST_TEXT = 200
"""Characters of what a row says beside time and code."""


def code_column(shape: Shape) -> int:
    """Column of the event code: data 0-b:96.11.x, or the first data object; -1 when there is none."""
    data = [at for at, attribute in enumerate(shape.captured) if attribute.class_id == obis.DATA]
    for at in data:
        a, _, c, d = shape.captured[at].logical_name[:4]
        if (a, c, d) == (0, 96, 11):
            return at
    return data[0] if data else -1


@dataclass(slots=True)
class _Log:
    buffer: Buffer
    code: int


class LogReader:
    """The event logs of one device.

    Args:
        positions: of the device, on disk.
    """

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._logs: dict[bytes, _Log | None] = {}

    def forget_columns(self) -> None:
        """A new association: columns are read again."""
        self._logs.clear()

    async def read(self, contact: Contact) -> bool:
        """Reads one piece of each log; whether more of the past is still to come.

        Raises:
            OSError: the connection ended.
        """
        more = False
        for text in contact.config.logs:
            name = obis.parse(text)
            try:
                more |= await self._read(contact, name)
            except DlmsError as error:
                contact.failed(error)
                contact.link.count("log_errors")
                contact.link.error(f"event log {text} cannot be read: {error}")
        return more

    async def _read(self, contact: Contact, name: bytes) -> bool:
        if name not in self._logs:
            self._logs[name] = await self._made(contact, name)
        log = self._logs[name]
        if log is None:
            return False
        piece = await log.buffer.read(contact)
        self._tell(contact, log, piece)
        return piece.more

    async def _made(self, contact: Contact, name: bytes) -> _Log | None:
        try:
            shape = await shape_from(contact, name)
        except AccessError as error:
            if quality.keeps_value(error.code):
                raise
            # Not every meter of a model has every log.
            contact.link.count("logs_absent")
            contact.link.error(f"event log {obis.text(name)} is not there: {error}")
            return None
        code = code_column(shape)
        if shape.clock < 0 or code < 0:
            text = f"{obis.text(name)} of meter {contact.name} is no event log: it captures no time or no code"
            contact.link.event("mapping", text, severity=500)
            return None
        config = contact.config
        depth = timedelta(seconds=config.log_depth)
        rules = Rules(contact.zone, config.deviation_sign, config.null_repeats, repeats=True)
        # Rows of a log come when something happens, whatever period it claims.
        shape.period = 0
        buffer = Buffer(name, shape, self._positions.get(name, RECENT_EVENTS), rules, depth=depth, overlap=_OVERLAP)
        return _Log(buffer, code)

    def _tell(self, contact: Contact, log: _Log, piece: Piece) -> None:
        link = contact.link
        for row in piece.rows:
            self._event(contact, log, row)
        if piece.rows:
            link.count("log_rows", len(piece.rows))
        if piece.bad:
            link.count("log_rows_unreadable", piece.bad)
        self._positions.delivered()
        self._positions.flush(link.kept_until())

    @staticmethod
    def _event(contact: Contact, log: _Log, row: Row) -> None:
        cell = row.cells[log.code] if log.code < len(row.cells) else None
        number = int.from_bytes(cell, "big") if isinstance(cell, bytes) and 0 < len(cell) <= 4 else cell
        known = UNKNOWN_CODE
        if isinstance(number, int):
            known = event_codes().get(contact.config.event_codes or "", {}).get(number, UNKNOWN_CODE)
        what = known.text or "event"
        text = f"Meter {contact.name}: {what} (code {_shown(number)}, log {obis.text(log.buffer.name)})"
        shape = log.buffer.shape
        more = [
            f"{obis.text(attribute.logical_name)} {_shown(value)}"
            for at, (attribute, value) in enumerate(zip(shape.captured, row.cells, strict=False))
            if at not in (shape.clock, log.code) and value is not None
        ]
        if more:
            text += (": " + ", ".join(more))[:_MOST_TEXT]
        moment = ticks.from_datetime(row.time.utc) if row.time.utc is not None else 0
        doubtful = "doubtful" if row.time.invalid or row.time.doubtful else None
        contact.link.event(known.event, text, severity=known.severity, source_time=moment, time_quality=doubtful)


def _shown(value: Value) -> str:
    if isinstance(value, bytes):
        return text_of(value[:32])
    return repr(value)[:64] if isinstance(value, list) else str(value)[:64]
