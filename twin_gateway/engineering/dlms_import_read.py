"""Reading a meter for an import: its object list, scalers and units, profiles, and what it is called."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from address_space.address import escape
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.buffer import CAPTURE_PERIOD, captured_of
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.discovery import MeterObject, objects_of, profiles, registers
from twin_gateway.drivers.dlms.errors import (
    INVOCATION_COUNTER_ERROR,
    AccessError,
    AssociationError,
    DlmsError,
    SecurityError,
    ServiceError,
)
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.opening import Opener
from twin_gateway.drivers.dlms.pace import pace_of
from twin_gateway.drivers.dlms.reading import text_of
from twin_gateway.drivers.dlms.session import ReplyTimeoutError, Session, SessionClosedError
from twin_gateway.engineering.live_import import LiveImportError, OnceLink, Progress, Target

_OBJECT_LIST: Final = Attribute(obis.ASSOCIATION, obis.ASSOCIATION_LN, 2)
_DEVICE_NAME: Final = bytes((0, 0, 42, 0, 0, 255))
_SERIAL: Final = (bytes((0, 0, 96, 1, 0, 255)), bytes((1, 0, 0, 0, 0, 255)))
_LONGEST_NAME: Final = 64
_AT_ONCE: Final = 64
"""Attributes asked between two words of progress."""
_MOST_SECONDS: Final = 600.0
"""For one meter, association and all."""


@dataclass(slots=True)
class MeterContent:
    """What a meter says of itself.

    Attributes:
        objects: its object list.
        scalers: scaler and unit code by class and logical name; where the meter gives none, nothing.
        columns: what each profile captures, by its logical name.
        periods: capture period of each profile, seconds; 0 for profiles filled by something else.
        values: value of each object of class data that was read.
        name: logical device name (COSEM).
        serial: serial number; either is empty where the meter does not say it.
        refused: attributes that the meter would not give, with its reason.
    """

    objects: list[MeterObject] = field(default_factory=list)
    scalers: dict[tuple[int, bytes], tuple[int, int]] = field(default_factory=dict)
    columns: dict[bytes, list[Attribute]] = field(default_factory=dict)
    periods: dict[bytes, int] = field(default_factory=dict)
    values: dict[bytes, Value] = field(default_factory=dict)
    name: str = ""
    serial: str = ""
    refused: list[tuple[Attribute, str]] = field(default_factory=list)


async def read_meter(
    target: Target, folder: Path, progress: Progress, *, every: bool = False, kept: bool = False
) -> MeterContent:
    """Associate with a meter, read what it consists of, and release the association.

    Args:
        target: with its `config`.
        folder: where the counters of keys are kept.
        progress: told how far it is.
        every: read the values of all data objects too, so that their type is known.
        kept: `folder` is the gateway's own.

    Raises:
        LiveImportError: no connection, refused, no answer, nonsense.
    """
    config = target.config
    if not isinstance(config, DlmsConfig):
        raise TypeError("not a DLMS device")
    where = f"{config.host}:{config.port}"
    if config.ciphered and config.system_title is not None and not kept:
        hint = "name the gateway.yaml with --config, while that gateway is stopped"
        what = "its system_title is fixed, and no number may be used twice under it"
        raise LiveImportError(f"{target.said}: {what}", hint)
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            return await _read(target, config, folder, progress, every=every)
    except (DlmsError, OSError, ValueError) as error:
        message, hint = _told(error, config)
        raise LiveImportError(f"{target.said} ({where}): {message}", hint) from error


async def _read(target: Target, config: DlmsConfig, folder: Path, progress: Progress, *, every: bool) -> MeterContent:
    link = OnceLink(target.name, folder / escape(target.name))
    await asyncio.to_thread(link.data_directory.mkdir, parents=True, exist_ok=True)
    if config.ciphered and config.system_title is None:
        # A title of its own: no number is used twice under it, whatever the gateway has used under its own.
        config = config.model_copy(update={"system_title": (b"TWI" + secrets.token_bytes(5)).hex()})
    pace = pace_of(config.host, config.parallel, config.request_gap)
    session = await Opener(target.name, config).open(link, pace, link)
    try:
        return await _content(session, progress, every=every)
    finally:
        await session.close()


async def _content(session: Session, progress: Progress, *, every: bool) -> MeterContent:
    progress("reading the object list")
    out = MeterContent(objects_of(await session.do(session.association.get(_OBJECT_LIST))))
    there = {(item.class_id, item.name): item for item in out.objects}
    numbers = [number for number in (_DEVICE_NAME, *_SERIAL) if (obis.DATA, number) in there]
    data = [item.name for item in out.objects if item.class_id == obis.DATA and item.readable(2)] if every else numbers
    captured = profiles(out.objects)
    periods = [Attribute(obis.PROFILE, item.logical_name, CAPTURE_PERIOD) for item in captured]
    wanted = [*registers(out.objects), *captured, *periods]
    wanted += [Attribute(obis.DATA, name) for name in dict.fromkeys([*numbers, *data])]
    for attribute, value in await _values(session, wanted, len(out.objects), progress):
        if isinstance(value, DlmsError):
            out.refused.append((attribute, str(value)))
        else:
            _take(out, attribute, value)
    out.name = _text(out.values.get(_DEVICE_NAME))
    out.serial = next((text for text in (_text(out.values.get(name)) for name in _SERIAL) if text), "")
    return out


async def _values(
    session: Session, wanted: Sequence[Attribute], objects: int, progress: Progress
) -> list[tuple[Attribute, Value | DlmsError]]:
    found: list[tuple[Attribute, Value | DlmsError]] = []
    for start in range(0, len(wanted), _AT_ONCE):
        progress(f"{objects} objects; {start} of {len(wanted)} attributes read")
        some = list(wanted[start : start + _AT_ONCE])
        values = await session.do(session.association.get_many(some))
        found += zip(some, values, strict=True)
    return found


def _take(out: MeterContent, attribute: Attribute, value: Value) -> None:
    name = attribute.logical_name
    match attribute.class_id, attribute.number, value:
        case obis.PROFILE, 3, _:
            try:
                out.columns[name] = captured_of(value)
            except DlmsError as error:
                out.refused.append((attribute, str(error)))
        case obis.PROFILE, 4, int(period):
            out.periods[name] = int(period)
        case obis.DATA, 2, _:
            out.values[name] = value
        case class_id, _, [int(scaler), int(code)] if class_id in obis.WITH_UNIT and abs(scaler) <= 30:
            out.scalers[class_id, name] = int(scaler), int(code)
        case _:
            out.refused.append((attribute, "not what this attribute holds"))


def _text(value: Value) -> str:
    if isinstance(value, bytes):
        return text_of(value).strip()[:_LONGEST_NAME]
    return str(value).strip()[:_LONGEST_NAME] if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _told(error: Exception, config: DlmsConfig) -> tuple[str, str]:
    """What happened in one sentence, and what to look at."""
    text = str(error) or type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there", f"is {config.port} the meter's port, is the meter switched on?"
    if isinstance(error, ReplyTimeoutError):
        hint = "is it reached, is 'framing' right (wrapper or hdlc), are client and logical_device known to it?"
        return text, hint
    if isinstance(error, SessionClosedError):
        return text, "is 'framing' right, is the meter busy with another client?"
    if isinstance(error, ServiceError) and error.service_error == INVOCATION_COUNTER_ERROR:
        return f"{text}; the meter's counter cannot be followed", "are the keys those of this meter?"
    if isinstance(error, AssociationError):
        return text, _refused(config)
    if isinstance(error, SecurityError) or (isinstance(error, ServiceError) and config.ciphered):
        return text, "are the keys those of this meter and client?"
    if isinstance(error, AccessError):
        return f"the object list cannot be read: {text}", "another client may be allowed to: name it with 'client'"
    if isinstance(error, TimeoutError):
        return f"not read within {_MOST_SECONDS:g} s", "try again"
    if isinstance(error, ServiceError):
        return text, "is 'referencing' right (logical or short), does the meter want another 'security'?"
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or text, "is the host name right, is there a way to it?"
    return text, "look at the meter's section" if isinstance(error, ValueError | OSError) else ""


def _refused(config: DlmsConfig) -> str:
    if config.security == "none":
        return "the meter may ask for a password or keys: set 'security' and what goes with it"
    if config.security == "lls":
        return "is it the password of this client?"
    return "are the keys those of this meter and client, is it this security?"
