"""Commands of CoAP: from a commanded value to the body that is written, and from the answer to the outcome."""

from __future__ import annotations

import json
from dataclasses import dataclass

import cbor2

from address_space.addcause import AddCause
from address_space.ports import Outcome, Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceCommand

from . import objects, payload, tlv
from .client import Response
from .senml import Scalar

_ON = 2  # double point
_REFUSALS = {
    400: (StatusCode.BadInvalidArgument, AddCause.INCONSISTENT_PARAMETERS),
    401: (StatusCode.BadUserAccessDenied, AddCause.NO_ACCESS_AUTHORITY),
    402: (StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED),
    403: (StatusCode.BadUserAccessDenied, AddCause.NO_ACCESS_AUTHORITY),
    404: (StatusCode.BadConfigurationError, AddCause.NOT_SUPPORTED),
    405: (StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED),
    406: (StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED),
    409: (StatusCode.BadInvalidState, AddCause.BLOCKED_BY_PROCESS),
    412: (StatusCode.BadInvalidState, AddCause.BLOCKED_BY_PROCESS),
    413: (StatusCode.BadInvalidArgument, AddCause.INCONSISTENT_PARAMETERS),
    415: (StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED),
    422: (StatusCode.BadInvalidArgument, AddCause.INCONSISTENT_PARAMETERS),
    429: (StatusCode.BadResourceUnavailable, AddCause.BLOCKED_BY_PROCESS),
    503: (StatusCode.BadResourceUnavailable, AddCause.BLOCKED_BY_PROCESS),
}


@dataclass(frozen=True, slots=True)
class Body:
    """What is written where: path of the resource, octets and their content format; POST instead of PUT."""

    path: str
    octets: bytes
    content_format: int
    post: bool


class NotWritableError(ValueError):
    """The command cannot be put into a request; the message says why, `status` and `cause` go into the outcome."""

    def __init__(self, text: str, status: StatusCode, cause: AddCause) -> None:
        super().__init__(text)
        self.status = status
        self.cause = cause


def body_of(command: DeviceCommand) -> Body:
    """The request of a command.

    Raises:
        NotWritableError: CoAP has nothing for it, or the value does not fit.
    """
    control = command.point.control
    if control is None or command.verb is not Verb.OPERATE:
        raise NotWritableError(
            "a CoAP resource is written directly, without selection", StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED
        )
    if command.test:
        raise NotWritableError("CoAP knows no test commands", StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED)
    named = control.get("object") or (command.point.fields.get("object") if control.get("path") is None else None)
    form = str(control.get("format") or "text")
    try:
        value = _value(command)
        path = objects.parse(str(named)) if named is not None else ()
        octets, content_format = _encoded(form, value, path, control.get("name"))
    except (objects.ObjectError, tlv.TlvError, ValueError) as error:
        raise NotWritableError(str(error), StatusCode.BadInvalidArgument, AddCause.INCONSISTENT_PARAMETERS) from error
    where = "/" + "/".join(map(str, path)) if path else str(control.get("path") or command.point.fields["path"])
    return Body(where, octets, content_format, control.get("method") == "post")


def outcome_of(command: DeviceCommand, response: Response) -> Outcome:
    """What the device's answer says of the command."""
    if response.good:
        return Outcome(
            StatusCode.Good,
            AddCause.NO_ERROR,
            "device",
            f"the device answers {response.text}",
            command.command_id,
            True,
        )
    status, cause = _REFUSALS.get(response.code, (StatusCode.Bad, AddCause.UNKNOWN))
    text = f"the device answers {response.text}"
    return Outcome(status, cause, "device", text, command.command_id, sent=True)


def unknown(command: DeviceCommand, why: str) -> Outcome:
    """The request has left and no answer came: it is not repeated."""
    text = f"{why}; the outcome is unknown and the command is not repeated"
    return Outcome(StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", text, command.command_id, sent=True)


def _value(command: DeviceCommand) -> Scalar:
    control, value = command.point.control or {}, command.value
    if value is None:
        raise ValueError("the command has no value")
    if command.point.cdc == "DPC" and not isinstance(value, bool):
        value = value == _ON
    if isinstance(value, bool):
        word = control.get("on" if value else "off")
        return value if word is None else str(word)
    return int(value) if float(value).is_integer() else float(value)


def _encoded(form: str, value: Scalar, path: tlv.Path, name: object) -> tuple[bytes, int]:
    if form == "text":
        return _text(value), payload.TEXT
    if form == "json":
        return json.dumps({str(name): value} if name is not None else value).encode(), payload.JSON
    if form == "tlv":
        if not path:
            raise ValueError("TLV writes a resource of an object")
        return tlv.encode(path, objects.octets_of(value, objects.about(path).kind)), tlv.TLV
    label = "vb" if isinstance(value, bool) else "vs" if isinstance(value, str) else "v"
    full = "/" + "/".join(map(str, path)) if path else str(name or "")
    if not full:
        raise ValueError("a SenML record has a name: say 'name' or 'object'")
    if form == "senml+json":
        return json.dumps([{"n": full, label: value}]).encode(), payload.SENML_JSON
    return cbor2.dumps([{0: full, {"vb": 4, "vs": 3, "v": 2}[label]: value}]), payload.SENML_CBOR


def _text(value: Scalar) -> bytes:
    if isinstance(value, bool):
        return b"1" if value else b"0"
    return str(value).encode()
