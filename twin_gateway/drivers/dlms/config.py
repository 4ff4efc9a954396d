"""What mapping files may say of a DLMS/COSEM meter and its points, and how OBIS codes become aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from twin_gateway.drivers.contract import DeviceConfig, FieldKind, FieldSpec, ProtocolSpec
from twin_gateway.drivers.dlms import obis
from twin_gateway.durations import Seconds


def _key(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[0-9A-Fa-f]{32}", value.get_secret_value()):
        raise ValueError("a key of security suite 0 is 32 hexadecimal digits")
    return value


def _title(value: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{16}", value):
        raise ValueError("a system title is 16 hexadecimal digits")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"'{value}' is no time zone such as UTC or Europe/Prague") from error
    return value


class Keys(BaseModel):
    """The two global keys of suite 0, hexadecimal; never shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    authentication: Annotated[SecretStr, AfterValidator(_key)]
    encryption: Annotated[SecretStr, AfterValidator(_key)]


class DlmsConfig(DeviceConfig):
    """Device section of `protocol: dlms`. Times are seconds.

    Attributes:
        host, port: the meter, or the concentrator or modem in front of it (wrapper over TCP).
        client: client SAP; 16 (public) without security and 1 with, unless said.
        logical_device: server wPort of the meter.
        security: `none`, `lls` (password) or `hls-gmac` (keys, everything ciphered with suite 0).
        system_title: ours, where the meter wants a fixed one; made from the device name otherwise.
        dedicated_key: use a key of its own for each association; meters differ in how they do it.
        hls_key: key of the third pass of HLS when a dedicated key is used.
        poll: time between two readings of all registers.
        timeout: how long one answer may take.
        keep_alive: the clock is read after so much silence, so that the meter does not end the association.
        time_zone: zone of meter times without a deviation; also the zone of the times we send.
        deviation: `inverted` for meters that send UTC - local instead of local - UTC, or the other way round.
        clock_check: time between two readings of the meter's clock.
        clock_tolerance: clock error from which on an event is given.
        profile_poll: time between two readings of load profiles.
        profile_depth: how far back a profile is read the first time.
        list_items: most registers asked for in one request.
        parallel: requests at a time to this host, over all meters behind it.
        request_gap: least time between the starts of two requests to this host.
    """

    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=4059, ge=1, le=65_535)
    client: int | None = Field(default=None, ge=1, le=0x7FFF)
    logical_device: int = Field(default=1, ge=1, le=0x7FFF)
    security: Literal["none", "lls", "hls-gmac"] = "none"
    password: SecretStr | None = None
    keys: Keys | None = None
    system_title: Annotated[str, AfterValidator(_title)] | None = None
    dedicated_key: bool = False
    hls_key: Literal["global", "dedicated"] = "global"
    poll: Seconds = 60.0
    timeout: Seconds = 10.0
    keep_alive: Seconds = 60.0
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    deviation: Literal["standard", "inverted"] = "standard"
    clock_check: Seconds = 900.0
    clock_tolerance: Seconds = 10.0
    profile_poll: Seconds = 900.0
    profile_depth: Seconds = 86_400.0
    list_items: int = Field(default=32, ge=1, le=200)
    parallel: int = Field(default=8, ge=1, le=1000)
    request_gap: float = Field(default=0.0, ge=0, le=60)

    @property
    def client_sap(self) -> int:
        """The client SAP to use."""
        return self.client if self.client is not None else 16 if self.security == "none" else 1

    @property
    def deviation_sign(self) -> int:
        """-1 for a meter that inverts the deviation."""
        return -1 if self.deviation == "inverted" else 1

    def title(self, name: str) -> bytes:
        """Our system title towards this meter, 8 octets."""
        if self.system_title is not None:
            return bytes.fromhex(self.system_title)
        return b"TWG" + sha256(name.encode()).digest()[:5]


def attribute_of(fields: Mapping[str, Any]) -> obis.Attribute:
    """The COSEM attribute that a point's fields name.

    Raises:
        ValueError: the OBIS code is none.
    """
    code = obis.parse(str(fields["obis"]))
    class_id = int(fields.get("class") or obis.default_class(code))
    # The control state of a disconnector says more than its output: it knows "ready for reconnection".
    number = int(fields.get("attribute") or (3 if class_id == obis.DISCONNECT else 2))
    return obis.Attribute(class_id, code, number)


def disconnector_of(fields: Mapping[str, Any], control: Mapping[str, Any]) -> bytes:
    """Logical name of the disconnector that a control acts on: its own `obis`, or the point's."""
    return obis.parse(str(control.get("obis") or fields["obis"]))


def _source(_config: Any, fields: Mapping[str, Any]) -> str:
    attribute = attribute_of(fields)
    return f"{attribute.class_id}/{obis.dotted(attribute.logical_name)}/{attribute.number}"


def _alias(link: str, config: Any, source: int | str) -> str:
    return f"{link}/{getattr(config, 'logical_device', 1)}/{source}"


_ALIAS = re.compile(r"([^/]+)/(\d{1,5})/(\d{1,5}/(?:\d{1,3}\.){5}\d{1,3}/\d{1,3})")


def _unalias(value: str) -> tuple[str | None, int | str] | None:
    match = _ALIAS.fullmatch(value)
    return (match[1], match[3]) if match else None


def _command_source(_config: Any, fields: Mapping[str, Any], control: Mapping[str, Any]) -> str:
    return f"{obis.DISCONNECT}/{obis.dotted(disconnector_of(fields, control))}"


_REGISTER_CDCS = frozenset(
    {"MV", "SAV", "CMV", "BCR", "INS", "ING", "SEC", "ASG", "ANG", "RAW", "HMVI", "SPS", "ENS", "BSC", "ISC", "VSS"}
)
_POSITION_CDCS = frozenset({"DPC", "DPS", "SPC", "SPS", "ENS", "ENC", "INS"})
_CLOCK_CDCS = frozenset({"INS", "MV", "ASG", "VSS", "VSG", "SPS"})


def _cdcs(fields: Mapping[str, Any]) -> frozenset[str] | None:
    try:
        class_id = attribute_of(fields).class_id
    except (KeyError, ValueError):
        return None
    if class_id == obis.DISCONNECT:
        return _POSITION_CDCS
    if class_id == obis.CLOCK:
        return _CLOCK_CDCS
    return _REGISTER_CDCS if class_id in obis.WITH_UNIT else None


def _check(_config: Any, fields: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    problems = []
    for name in ("obis", "profile"):
        if fields.get(name) is not None:
            try:
                obis.parse(str(fields[name]))
            except ValueError as error:
                problems.append((name, str(error)))
    if problems:
        return problems
    attribute = attribute_of(fields)
    if attribute.class_id == obis.PROFILE:
        problems.append(("obis", "a profile is no point: name the register, and the profile as its 'profile'"))
    if fields.get("control") is not None and attribute.class_id != obis.DISCONNECT:
        problems.append(("obis", f"{fields['obis']} is no disconnector (class 70) and cannot be commanded"))
    return problems


def _check_device(config: Any) -> Sequence[tuple[str, str]]:
    problems = []
    if config.security == "lls" and config.password is None:
        problems.append(("security", "lls needs a password"))
    if config.security == "hls-gmac" and config.keys is None:
        problems.append(("security", "hls-gmac needs keys: {authentication: ..., encryption: ...}"))
    if config.security != "lls" and config.password is not None:
        problems.append(("password", f"security is {config.security}: there is no password in it"))
    if config.security != "hls-gmac" and config.keys is not None:
        problems.append(("keys", f"security is {config.security}: the keys would not be used"))
    if config.dedicated_key and config.security != "hls-gmac":
        problems.append(("dedicated_key", "only hls-gmac has keys"))
    return problems


_OBIS_HELP = "an OBIS code such as 1-0:1.8.0 or 1-0:1.8.0.255"
_OBIS_PATTERN = r"\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}([.*]\d{1,3})?|(\d{1,3}\.){4}\d{1,3}(\.\d{1,3})?"

SPEC = ProtocolSpec(
    name="dlms",
    scheme="dlms",
    config=DlmsConfig,
    point_fields=(
        FieldSpec("obis", FieldKind.TEXT, required=True, pattern=_OBIS_PATTERN, help=_OBIS_HELP),
        FieldSpec("class", FieldKind.INT, low=1, high=8191, help="COSEM class, where the OBIS code does not tell"),
        FieldSpec("attribute", FieldKind.INT, low=1, high=127, help="2 unless said; 3 for a disconnector"),
        FieldSpec("profile", FieldKind.TEXT, pattern=_OBIS_PATTERN, help="load profile with this register's history"),
    ),
    control_fields=(
        FieldSpec("obis", FieldKind.TEXT, pattern=_OBIS_PATTERN, help="the disconnector, if not the point itself"),
    ),
    control_models=("disconnect",),
    driver="twin_gateway.drivers.dlms.driver:DlmsDriver",
    source=_source,
    alias=_alias,
    unalias=_unalias,
    command_source=_command_source,
    cdcs=_cdcs,
    check=_check,
    check_device=_check_device,
    secret_fields=frozenset({"password", "keys"}),
)
"""The protocol as mapping files and the gateway see it."""
