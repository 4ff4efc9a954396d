"""What mapping files may say of a CoAP device and its points, and how its resources become aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from twin_gateway.drivers.contract import DeviceConfig, FieldKind, FieldSpec, ProtocolSpec
from twin_gateway.durations import Seconds

SCHEMES = ("coap", "coap+tcp", "coaps")
"""Schemes that a device URI may have; `coaps` needs the package DTLSSocket."""

_PATH = r"/[!-~]{0,255}"
_SOURCE = re.compile(rf"(?:{'|'.join(map(re.escape, SCHEMES))})://[!-~]+")


def _device_uri(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"'{value}' is no URI: {error}") from error
    if parts.scheme not in SCHEMES:
        raise ValueError(f"'{value}' must begin with one of {', '.join(s + '://' for s in SCHEMES)}")
    if not parts.hostname or port == 0:
        raise ValueError(f"'{value}' names no host to connect to")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"'{value}' may have a host, a port and a path, nothing else")
    return value.rstrip("/")


class CoapConfig(DeviceConfig):
    """Device section of `protocol: coap`. Times are seconds.

    Attributes:
        uri: `coap://host[:port][/path]`; the path is put in front of the path of every point.
        timeout: how long an answer may take, retransmissions and blocks included.
        ack_timeout: time to the first retransmission; 2 s by RFC 7252, less only on a local network.
        keepalive: after so much silence of the whole device one resource is asked for; None never asks, and then a
            device that dies is noticed only by the age of its values.
        poll: how often resources that are not observed are asked for; None: before what they said last has aged.
        receive_buffer: octets of the socket's receive buffer asked of the kernel.
        queue: most notifications kept between the socket and the decoder; the oldest are dropped and counted.
    """

    uri: Annotated[str, BeforeValidator(_device_uri), Field(max_length=255)]
    timeout: Seconds = 10.0
    ack_timeout: Seconds = 2.0
    keepalive: Seconds | None = 10.0
    poll: Seconds | None = None
    receive_buffer: int = Field(default=4 * 1024 * 1024, ge=4096, le=256 * 1024 * 1024)
    queue: int = Field(default=10_000, ge=16, le=1_000_000)


def selector_of(fields: Mapping[str, Any]) -> str:
    """What of a payload a point takes, as a URI fragment: a JSON pointer begins with a slash, a record does not."""
    if fields.get("name") is not None:
        return str(fields["name"]) + ("~sum" if fields.get("sum") else "")
    if fields.get("member") is not None:
        member = str(fields["member"]).replace("~", "~0").replace("/", "~1")
        return f"/{member}"
    return str(fields.get("pointer") or "")


def source_of(config: Any, fields: Mapping[str, Any]) -> str:
    """Source of a point: `coap://host/path#selector`."""
    fragment = selector_of(fields)
    path = str(fields["path"])
    base = str(config.uri) if config is not None else ""
    return f"{base}{path}#{fragment}" if fragment else f"{base}{path}"


def _alias(_link: str, _config: Any, source: int | str) -> str:
    return str(source)


def _unalias(value: str) -> tuple[str | None, str] | None:
    return (None, value) if _SOURCE.fullmatch(value) else None


def _command_source(config: Any, fields: Mapping[str, Any], _control: Mapping[str, Any]) -> str:
    return source_of(config, fields)


def _check(_config: Any, fields: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    given = [name for name in ("name", "pointer", "member") if fields.get(name) is not None]
    problems = [(name, f"a point has one of name, pointer and member, here is also {given[0]}") for name in given[1:]]
    if fields.get("sum") and fields.get("name") is None:
        problems.append(("sum", "only a SenML record, given by its name, has a sum"))
    if fields.get("poll") is not None and fields.get("observe", True):
        problems.append(("poll", "an observed resource is not polled: add 'observe: false' or leave poll out"))
    return problems


SPEC = ProtocolSpec(
    name="coap",
    scheme="coap",
    config=CoapConfig,
    point_fields=(
        FieldSpec("path", FieldKind.TEXT, required=True, pattern=_PATH, help="resource, with its query: /senml?n=1"),
        FieldSpec("name", FieldKind.TEXT, help="SenML record: full name, or what follows the device's own prefix"),
        FieldSpec("pointer", FieldKind.TEXT, pattern="(/.*)?", help="JSON pointer into JSON or CBOR: /battery/level"),
        FieldSpec("member", FieldKind.TEXT, help="member of a JSON or CBOR object, short for a pointer"),
        FieldSpec("sum", FieldKind.BOOL, help="take the record's sum over time (SenML s) instead of its value"),
        FieldSpec("observe", FieldKind.BOOL, help="observe the resource (the default) or poll it"),
        FieldSpec("poll", FieldKind.DURATION, help="how often a resource is asked for that is not observed"),
        FieldSpec("accept", FieldKind.INT, low=0, high=65_535, help="content format to ask for, where it has several"),
    ),
    control_fields=(),
    control_models=(),
    driver="twin_gateway.drivers.coap.driver:CoapDriver",
    source=source_of,
    alias=_alias,
    unalias=_unalias,
    command_source=_command_source,
    check=_check,
)
"""The protocol as mapping files and the gateway see it."""
