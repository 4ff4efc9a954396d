"""What mapping files may say of a CoAP device and its points, and how its resources become aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from twin_gateway.drivers.contract import DeviceConfig, FieldKind, FieldSpec, ProtocolSpec
from twin_gateway.drivers.tls import TlsConfig
from twin_gateway.durations import Seconds

from . import objects

SCHEMES = ("coap", "coap+tcp", "coaps")
"""Schemes that a device URI may have; `coaps` needs `psk` or `tls`."""
ENDPOINT_SCHEME = "coap+ep"
"""Scheme of aliases of devices that are known by their endpoint name: `coap+ep://NAME/3303/0/5700`."""

_PATH = r"/[!-~]{0,255}"
_SOURCE = re.compile(rf"(?:{'|'.join(map(re.escape, (*SCHEMES, ENDPOINT_SCHEME)))})://[!-~]+")
_NO_KEY = (
    'coaps needs a key: add psk: {identity: NAME, key: "${SECRET}"} with the hexadecimal key in the secret, '
    "or tls: {ca: FILE, certificate: FILE, key: FILE}"
)
METHODS = ("put", "post")
FORMATS = ("text", "json", "senml+json", "senml+cbor", "tlv")


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


def _proxy_uri(value: object) -> object:
    checked = _device_uri(value)
    if isinstance(checked, str) and urlsplit(checked).path not in {"", "/"}:
        raise ValueError(f"'{value}' may have a host and a port, nothing else")
    return checked


def _hexadecimal(least: int, most: int) -> AfterValidator:
    def check(value: str) -> str:
        if re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", value) is None or not least <= len(value) // 2 <= most:
            raise ValueError(f"must be {least} to {most} octets in hexadecimal digits")
        return value.lower()

    return AfterValidator(check)


def _secret(least: int, most: int) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", text) is None or not least <= len(text) // 2 <= most:
            raise ValueError(f"must be {least} to {most} octets in hexadecimal digits")
        return value

    return AfterValidator(check)


class PskConfig(BaseModel):
    """DTLS with a pre-shared key (RFC 7252 9.1.3.1).

    Attributes:
        identity: name of the key, as the device knows it.
        key: 1 to 64 octets, hexadecimal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: str = Field(min_length=1, max_length=128)
    key: Annotated[SecretStr, _secret(1, 64)]


class OscoreConfig(BaseModel):
    """A pre-established OSCORE security context (RFC 8613 3.2), identifiers and salt hexadecimal.

    Attributes:
        sender_id, recipient_id: ours and the device's, at most 7 octets, different from each other.
        secret: master secret, 16 octets or more.
        salt: master salt.
        id_context: context identifier that goes with every request; None without one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sender_id: Annotated[str, _hexadecimal(0, 7)]
    recipient_id: Annotated[str, _hexadecimal(0, 7)]
    secret: Annotated[SecretStr, _secret(16, 64)]
    salt: Annotated[str, _hexadecimal(0, 64)] = ""
    id_context: Annotated[str, _hexadecimal(0, 32)] | None = None

    @model_validator(mode="after")
    def _different(self) -> OscoreConfig:
        if self.sender_id == self.recipient_id:
            raise ValueError("sender_id and recipient_id must differ")
        return self


class CoapConfig(DeviceConfig):
    """Device section of `protocol: coap`. Times are seconds.

    Attributes:
        uri: `coap://host[:port][/path]`; the path is put in front of the path of every point.
        endpoint: instead of `uri`: name under which the device registers in the gateway's resource directory.
        psk: key of DTLS, for `coaps`.
        tls: certificates of DTLS, for `coaps`, instead of `psk`.
        oscore: security context of OSCORE; what is inside is protected also across proxies.
        awake: how long a device that registered in queue mode (binding `UQ`) listens after a registration or update;
            93 s is what LwM2M says (MAX_TRANSMIT_WAIT).
        proxy: `coap://host[:port]` of a forward proxy that all requests go through (RFC 7252 5.7).
        discover: filter of `/.well-known/core` (RFC 6690 4.1), such as `rt=temperature*`.
        timeout: how long an answer may take, retransmissions and blocks included.
        ack_timeout: time to the first retransmission; 2 s by RFC 7252, less only on a local network.
        keepalive: after so much silence of the whole device one resource is asked for; None never asks, and then a
            device that dies is noticed only by the age of its values.
        poll: how often resources that are not observed are asked for; None: before what they said last has aged.
        receive_buffer: octets of the socket's receive buffer asked of the kernel.
        queue: most notifications kept between the socket and the decoder; the oldest are dropped and counted.
    """

    uri: Annotated[str, BeforeValidator(_device_uri), Field(max_length=255)] = ""
    endpoint: str | None = Field(default=None, pattern=r"^[!-~]{1,63}$")
    psk: PskConfig | None = None
    tls: TlsConfig | None = None
    oscore: OscoreConfig | None = None
    proxy: Annotated[str, BeforeValidator(_proxy_uri), Field(max_length=255)] | None = None
    discover: str = Field(default="", pattern=r"^([a-z]+=[!-%'-~]{1,200})?$")
    timeout: Seconds = 10.0
    ack_timeout: Seconds = 2.0
    keepalive: Seconds | None = 10.0
    awake: Seconds = 93.0
    poll: Seconds | None = None
    receive_buffer: int = Field(default=4 * 1024 * 1024, ge=4096, le=256 * 1024 * 1024)
    queue: int = Field(default=10_000, ge=16, le=1_000_000)

    @property
    def way(self) -> str:
        """Devices behind one proxy are lost together."""
        return self.proxy or ""

    @property
    def base(self) -> str:
        """What stands before the path in sources and aliases."""
        return self.uri if self.endpoint is None else f"{ENDPOINT_SCHEME}://{quote(self.endpoint, safe=':')}"


def _check_device(config: CoapConfig) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    if bool(config.uri) == (config.endpoint is not None):
        problems.append(("uri", "a device has either a uri or an endpoint"))
    secure = config.uri.startswith("coaps:")
    if secure and config.psk is None and config.tls is None:
        problems.append(("uri", _NO_KEY))
    if config.psk is not None and config.tls is not None:
        problems.append(("tls", "a device has either a psk or certificates"))
    if not secure and (config.psk is not None or config.tls is not None):
        problems.append(("psk" if config.psk is not None else "tls", "only coaps:// uses it"))
    if config.proxy is not None and config.endpoint is not None:
        problems.append(("proxy", "an endpoint of the directory is reached where it registered from"))
    if config.proxy is not None and not config.proxy.startswith("coap:"):
        problems.append(("proxy", "the proxy itself is reached by coap://"))
    if config.proxy is not None and secure:
        problems.append(("proxy", "DTLS ends at the proxy: protect the requests with oscore and coap:// instead"))
    return problems


def selector_of(fields: Mapping[str, Any]) -> str:
    """What of a payload a point takes, as a URI fragment: a JSON pointer begins with a slash, a record does not."""
    below = fields.get("below")
    return _value_of(fields) + (f"~below={below:g}" if below is not None else "")


def _value_of(fields: Mapping[str, Any]) -> str:
    if fields.get("name") is not None:
        return str(fields["name"]) + ("~sum" if fields.get("sum") else "")
    if fields.get("member") is not None:
        member = str(fields["member"]).replace("~", "~0").replace("/", "~1")
        return f"/{member}"
    return str(fields.get("pointer") or "")


def source_of(config: Any, fields: Mapping[str, Any]) -> str:
    """Source of a point: `coap://host/path#selector`."""
    fragment = selector_of(fields)
    named = fields.get("object")
    path = "/" + str(named).lstrip("/") if named is not None else str(fields["path"])
    base = str(config.base) if config is not None else ""
    return f"{base}{path}#{fragment}" if fragment else f"{base}{path}"


def _alias(_link: str, _config: Any, source: int | str) -> str:
    return str(source)


def _unalias(value: str) -> tuple[str | None, str] | None:
    return (None, value) if _SOURCE.fullmatch(value) else None


def _command_source(config: Any, fields: Mapping[str, Any], control: Mapping[str, Any]) -> str:
    named = {name: control[name] for name in ("path", "object", "name") if control.get(name) is not None}
    return source_of(config, named if "path" in named or "object" in named else fields)


def _check(_config: Any, fields: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    given = [name for name in ("name", "pointer", "member", "object") if fields.get(name) is not None]
    problems = [
        (name, f"a point has one of name, pointer, member and object, here is also {given[0]}") for name in given[1:]
    ]
    named = fields.get("object")
    if (named is None) == (fields.get("path") is None):
        problems.append(("path", "a point has either a path or an object"))
    if named is not None:
        try:
            objects.about(objects.parse(str(named)), fields.get("type"))
        except objects.ObjectError as error:
            problems.append(("object", str(error)))
    elif fields.get("type") is not None:
        problems.append(("type", "only resources of an object have a type"))
    if fields.get("below") is not None and fields.get("sum"):
        problems.append(("below", "a sum has no limit"))
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
        FieldSpec("path", FieldKind.TEXT, pattern=_PATH, help="resource, with its query: /senml?n=1"),
        FieldSpec("object", FieldKind.TEXT, pattern=objects.PATTERN, help="LwM2M or IPSO resource: 3303/0/5700"),
        FieldSpec("type", FieldKind.CHOICE, choices=tuple(objects.Kind), help="what an unknown resource holds"),
        FieldSpec("name", FieldKind.TEXT, help="SenML record: full name, or what follows the device's own prefix"),
        FieldSpec("pointer", FieldKind.TEXT, pattern="(/.*)?", help="JSON pointer into JSON or CBOR: /battery/level"),
        FieldSpec("member", FieldKind.TEXT, help="member of a JSON or CBOR object, short for a pointer"),
        FieldSpec("sum", FieldKind.BOOL, help="take the record's sum over time (SenML s) instead of its value"),
        FieldSpec("below", FieldKind.NUMBER, help="true while the number, as the device sends it, is less: 20"),
        FieldSpec("observe", FieldKind.BOOL, help="observe the resource (the default) or poll it"),
        FieldSpec("poll", FieldKind.DURATION, help="how often a resource is asked for that is not observed"),
        FieldSpec("accept", FieldKind.INT, low=0, high=65_535, help="content format to ask for, where it has several"),
    ),
    control_fields=(
        FieldSpec("path", FieldKind.TEXT, pattern=_PATH, help="resource to write, if not the one that is read"),
        FieldSpec("object", FieldKind.TEXT, pattern=objects.PATTERN, help="LwM2M resource to write: 3306/0/5850"),
        FieldSpec("method", FieldKind.CHOICE, choices=METHODS, help="put (the default) or post"),
        FieldSpec("format", FieldKind.CHOICE, choices=FORMATS, help="how the value is written; text by default"),
        FieldSpec("name", FieldKind.TEXT, help="name of the SenML record or of the JSON member that is written"),
        FieldSpec("on", FieldKind.TEXT, help="text for on; without it 1, or true in JSON"),
        FieldSpec("off", FieldKind.TEXT, help="text for off; without it 0, or false in JSON"),
    ),
    control_models=("direct",),
    driver="twin_gateway.drivers.coap.driver:CoapDriver",
    source=source_of,
    alias=_alias,
    unalias=_unalias,
    command_source=_command_source,
    check=_check,
    check_device=_check_device,
    secret_fields=frozenset({"psk.key", "oscore.secret"}),
    counters={
        "TmoCnt": ("timeouts",),
        "FrmErrCnt": ("malformed_datagrams",),
        "SeqErrCnt": ("notifications_reordered", "notifications_replayed"),
        "SecErrCnt": ("oscore_errors",),
        "ErrCnt": ("payload_errors",),
        "BlkErrCnt": ("block_errors",),
        "Rsp4Cnt": ("responses_4xx",),
        "Rsp5Cnt": ("responses_5xx",),
        "RdCnt": ("responses", "notifications"),
    },
)
"""The protocol as mapping files and the gateway see it."""
