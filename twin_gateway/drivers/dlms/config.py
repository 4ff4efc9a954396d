"""What mapping files may say of a DLMS/COSEM meter and its points, and how OBIS codes become aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from twin_gateway.drivers.contract import DeviceConfig, FieldKind, FieldSpec, ProtocolSpec
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.tables import event_codes, models, status_bits
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


class Hdlc(BaseModel):
    """How HDLC is spoken, with `framing: hdlc`. The upper address of the meter is its `logical_device`.

    Attributes:
        physical_device: lower address of the meter; none in addresses of one octet.
        address_octets: 1, 2 or 4; the shortest that holds both parts unless said.
        frame_octets: most octets of information in a frame, proposed in both directions.
        window: most frames in a row, proposed in both directions.
        retries: how often a meter that keeps silent is asked again.
        retry_after: time before that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    physical_device: int | None = Field(default=None, ge=0, le=0x3FFF)
    address_octets: Literal[1, 2, 4] | None = None
    frame_octets: int = Field(default=128, ge=32, le=2030)
    window: int = Field(default=1, ge=1, le=7)
    retries: int = Field(default=3, ge=0, le=20)
    retry_after: Seconds = 2.0


class CurveKeys(BaseModel):
    """Files (PEM, curve P-256) of suite 1: private keys of ours, public keys or certificates of the meter.

    Attributes:
        signing, meter_signing: of `hls-ecdsa`, and of one-pass key agreement.
        agreement, meter_agreement: of key agreement.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    signing: str | None = None
    meter_signing: str | None = None
    agreement: str | None = None
    meter_agreement: str | None = None


class Keys(BaseModel):
    """The two global keys of suites 0 and 1, hexadecimal; never shown.

    Attributes:
        authentication: GAK, by reference: `${NAME}` or `file:PATH`.
        encryption: GUEK, by reference too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    authentication: Annotated[SecretStr, AfterValidator(_key)]
    encryption: Annotated[SecretStr, AfterValidator(_key)]


def _code(value: str) -> str:
    return obis.text(obis.parse(value))


Code = Annotated[str, AfterValidator(_code)]
"""An OBIS code."""


def _model(value: str) -> str:
    if value not in models():
        raise ValueError(f"'{value}' is not one of {', '.join(sorted(models()))}")
    return value


_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+):(\d{1,5})")


def _listen(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if match is None or not 0 < int(match[2]) <= 0xFFFF:
        raise ValueError(f"'{value}' is no address and port such as 0.0.0.0:4059 or [::]:4059")
    return value


class Push(BaseModel):
    """What a meter may send unasked (DataNotification, EventNotification), and how it is recognised.

    A device with keys is heard only under them (general-glo), recognised by its system title. One without is recognised
    by its address and logical device, or by its logical device name where `by: name` says so.

    Attributes:
        listen: address and port where the process waits, TCP and UDP; devices with the same one share it.
        by: `address` or `name` (logical device name, first in what is sent); nothing for a device with keys.
        address: where the meter sends from, if that is not `host`.
        name: logical device name; the one read from the meter unless said.
        meter_title: the meter's system title; learned in the first association unless said.
        setup: push setup object, whose list of objects is read at every connection.
        columns: what the meter sends, as class/OBIS code/attribute, where the push setup cannot be read.
        only: the meter is never called; it counts as up while it sends.
        silence: with `only`, how long after the last push it counts as down.
        rate: messages a minute that are taken of this meter, at most; more are dropped and told.
        plain_udp: unprotected messages are taken over UDP too, where anybody can pretend to be the sender.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: Annotated[str, AfterValidator(_listen)]
    by: Literal["address", "name"] = "address"
    address: str | None = Field(default=None, max_length=253)
    name: str | None = Field(default=None, min_length=1, max_length=64)
    meter_title: Annotated[str, AfterValidator(_title)] | None = None
    setup: Code = "0-0:25.9.0"
    columns: tuple[Annotated[str, Field(pattern=r"\d{1,5}/[0-9:.*-]+/\d{1,3}")], ...] = ()
    only: bool = False
    silence: Seconds = 3600.0
    rate: int = Field(default=60, ge=1, le=6000)
    plain_udp: bool = False

    @property
    def where(self) -> tuple[str, int]:
        """Address and port to listen at."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class DlmsConfig(DeviceConfig):
    """Device section of `protocol: dlms`. Times are seconds.

    Attributes:
        host, port: the meter, or the concentrator or modem in front of it (wrapper over TCP).
        client: client SAP; 16 (public) without security and 1 with, unless said.
        logical_device: server wPort of the meter.
        framing: `wrapper` or `hdlc`, both over TCP.
        hdlc: addresses, lengths and windows of HDLC.
        referencing: `logical` names, or the `short` names of older meters.
        security: `none`, `lls` (password), `hls-gmac` (keys, everything ciphered) or `hls-ecdsa` (signatures instead).
        suite: security suite, 0 or 1 (1 with hls-ecdsa).
        general_ciphering: general-glo- and general-ded-ciphering instead of a tag for each service.
        key_agreement: agree on a key for each message: `one-pass` or `static`, by general-ciphering.
        curve_keys: files with the keys of suite 1.
        pdu_size: longest APDU that we take, octets, proposed to the meter.
        block_window: blocks of general block transfer that we take in a row; 0 does not propose it.
        password: of `security: lls`, by reference: `${NAME}` or `file:PATH`.
        keys: the two global keys, for `hls-gmac` and wherever messages are ciphered.
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
        model: row of the table of peculiarities; its fields are the defaults of this section.
        clock_set: `never`, or by how much the meter's clock may be set at a time.
        logs: event logs that are read and told as events.
        log_poll: time between two readings of them.
        log_depth: how far back a log is read the first time.
        event_codes, status_bits: tables of what codes and bits of the status octet of profiles mean.
        lists: False where the meter must not be asked for several registers at once.
        selection: how rows of profiles are chosen: by time, by their number, or not at all (the whole buffer comes).
        null_repeats: null-data in a profile stands for the value above it.
        trailing_octets: `expected` where octets after a value are nothing to be counted.
        push: what the meter may send unasked; nothing is heard without this.
    """

    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=4059, ge=1, le=65_535)
    client: int | None = Field(default=None, ge=1, le=0x7FFF)
    logical_device: int = Field(default=1, ge=1, le=0x7FFF)
    framing: Literal["wrapper", "hdlc"] = "wrapper"
    hdlc: Hdlc = Hdlc()
    referencing: Literal["logical", "short"] = "logical"
    security: Literal["none", "lls", "hls-gmac", "hls-ecdsa"] = "none"
    suite: Literal[0, 1] | None = None
    general_ciphering: bool = False
    key_agreement: Literal["none", "one-pass", "static"] = "none"
    curve_keys: CurveKeys = CurveKeys()
    pdu_size: int = Field(default=0xFFFF, ge=128, le=0xFFFF)
    block_window: int = Field(default=0, ge=0, le=63)
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
    model: Annotated[str, AfterValidator(_model)] | None = None
    clock_set: Literal["never"] | Seconds = "never"
    logs: tuple[Code, ...] = Field(default=(), max_length=16)
    log_poll: Seconds = 900.0
    log_depth: Seconds = 86_400.0
    event_codes: str | None = None
    status_bits: str | None = None
    lists: bool = True
    selection: Literal["range", "entry", "none"] = "range"
    null_repeats: bool = False
    trailing_octets: Literal["counted", "expected"] = "counted"
    push: Push | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_model(cls, data: Any) -> Any:
        """Puts what the table says of the model below what the section says."""
        if not isinstance(data, dict) or not isinstance(data.get("model"), str):
            return data
        return {**models().get(data["model"], {}), **data}

    @property
    def way(self) -> str:
        """Meters behind one concentrator or modem are lost together; those that only push are not called there."""
        return "" if self.push is not None and self.push.only else f"{self.host}:{self.port}"

    @property
    def ciphered(self) -> bool:
        """Whether everything is ciphered."""
        return self.security in {"hls-gmac", "hls-ecdsa"}

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
    if config.ciphered and config.keys is None:
        problems.append(("security", f"{config.security} needs keys: {{authentication: ..., encryption: ...}}"))
    if config.security != "lls" and config.password is not None:
        problems.append(("password", f"security is {config.security}: there is no password in it"))
    if not config.ciphered and config.keys is not None:
        problems.append(("keys", f"security is {config.security}: the keys would not be used"))
    for name, table in (("event_codes", event_codes()), ("status_bits", status_bits())):
        if (wanted := getattr(config, name)) is not None and wanted not in table:
            problems.append((name, f"there is no table '{wanted}', only {', '.join(sorted(table))}"))
    if config.push is not None:
        problems += _check_push(config, config.push)
    return problems + _check_ciphering(config) + _check_framing(config)


def _check_ciphering(config: Any) -> list[tuple[str, str]]:
    keyed = ("dedicated_key", "general_ciphering")
    problems = [
        (name, "only hls-gmac and hls-ecdsa have keys")
        for name in keyed
        if getattr(config, name) and not config.ciphered
    ]
    agreed = config.key_agreement != "none"
    if agreed and not config.ciphered:
        problems.append(("key_agreement", "only hls-gmac and hls-ecdsa have keys"))
    if config.suite == 0 and (config.security == "hls-ecdsa" or agreed):
        problems.append(("suite", "signatures and key agreement need suite 1"))
    wanted = []
    if config.security == "hls-ecdsa" or config.key_agreement == "one-pass":
        wanted += ["signing", "meter_signing"]
    if agreed:
        wanted += ["agreement", "meter_agreement"]
    missing = [name for name in wanted if getattr(config.curve_keys, name) is None]
    if missing:
        problems.append(("curve_keys", f"missing: {', '.join(missing)}"))
    return problems


def _check_framing(config: Any) -> list[tuple[str, str]]:
    if config.framing != "hdlc":
        return []
    problems = []
    if config.client_sap > 0x7F:
        problems.append(("client", "an HDLC client address is at most 127"))
    hdlc = config.hdlc
    most = 0x3FFF if hdlc.address_octets in {None, 4} else 0x7F
    if max(config.logical_device, hdlc.physical_device or 0) > most:
        problems.append(("hdlc", f"addresses of {hdlc.address_octets or 4} octets go up to {most}"))
    if hdlc.address_octets == 1 and hdlc.physical_device is not None:
        problems.append(("hdlc", "an address of one octet has no physical device"))
    return problems


def _check_push(config: Any, push: Push) -> Sequence[tuple[str, str]]:
    problems = []
    for column in push.columns:
        try:
            obis.attribute(column)
        except ValueError as error:
            problems.append(("push", str(error)))
    if push.only and not push.columns:
        problems.append(("push", "a meter that is never called cannot be asked what it sends: name the 'columns'"))
    if push.only and config.keys is not None and push.meter_title is None:
        problems.append(("push", "a meter that is never called cannot be asked its system title: name 'meter_title'"))
    if push.only and push.by == "name" and push.name is None:
        problems.append(("push", "a meter that is never called cannot be asked its name: name it"))
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
    counters={
        "TmoCnt": ("timeouts",),
        "FrmErrCnt": ("frame_errors", "frame_losses", "misaddressed_apdus"),
        "SecErrCnt": ("security_errors", "push_security_errors"),
        "ErrCnt": ("apdu_errors", "push_errors", "profile_errors", "log_errors"),
        "RdCnt": ("polls",),
        "RefCnt": ("refused_attributes",),
        "ClkSynCnt": ("clock_sets",),
        "ClkSynFailCnt": ("clock_set_errors",),
    },
)
"""The protocol as mapping files and the gateway see it."""
