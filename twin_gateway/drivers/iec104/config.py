"""What mapping files may say of an IEC 60870-5-104 device and its points, and how 104 addresses become aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from twin_gateway.drivers.contract import DeviceConfig, FieldKind, FieldSpec, ProtocolSpec
from twin_gateway.drivers.iec104.times import Zone
from twin_gateway.drivers.iec104.types import BY_NAME, MAX_ADDRESS, Family
from twin_gateway.drivers.tls import TlsConfig
from twin_gateway.durations import Seconds

MAX_COMMON_ADDRESS = 65_534
MAX_SHORT_COMMON_ADDRESS = 254
PORT, TLS_PORT = 2404, 19_998
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/\[\]]+))(?::(\d{1,5}))?")


def _usual_port(given: dict[str, Any]) -> int:
    return PORT if given.get("tls") is None else TLS_PORT


def _address(text: str, port: int) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[IPv6 address]:port`. Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    number = port if match is None or match[3] is None else int(match[3])
    if match is None or not 1 <= number <= 65_535 or len(text) > 253:
        raise ValueError(f"redundant: '{text}' is no address such as 10.4.7.11, rtu-b:2404 or [fd00::1]:2404")
    return match[1] or match[2], number


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, int | str) else value


def _known_zone(name: str) -> str:
    Zone(name)
    return name


CommonAddress = Annotated[int, Field(ge=1, le=MAX_COMMON_ADDRESS)]


class Iec104Config(DeviceConfig):
    """Device section of `protocol: iec104`. Times are seconds; names of timers and windows are those of the standard.

    Attributes:
        host, port: the device as the controlled station; 2404, with TLS 19998 unless said.
        common_address: one station of the link or several; points without their own belong to the first.
        redundant: further addresses of the same device, `host` or `host:port`. One connection carries user data, the
            others are kept, tested, and take over when it is lost.
        tls: TLS by IEC 62351-3; the port is then 19998 unless said.
        tls_reconnect: after this time a TLS connection is made anew, in place of a renegotiation; None never.
        time_zone: zone of the device's clock, UTC or an IANA name.
        summer_bit: the SU bit of time tags says which reading of the repeated hour is meant, and is set in what we
            send; False for devices that use it otherwise.
        originator: the ORG octet of what we send; answers to other originators are then left alone.
        clock_sync: how often the device's clock is set (first after the interrogation); None never.
        delay_acquisition: the delay of the line is measured and loaded before the clock is set (C_CD_NA_1).
        test_interval: how often a test command (C_TS_TA_1) asks whether the device's application answers; None never.
        gi_interval: how often a general interrogation is repeated; None only at the start.
        counter_interval: how often counters are requested (first after the interrogation); None never.
        counter_groups: groups of counters that are requested, 1 to 4; all at once when empty.
        counter_freeze: what a counter request does first: `none`, `freeze`, `freeze-reset` or `reset`.
        counter_read: the counters are then read by request; False for stations that send frozen values by themselves.
        answer_timeout: how long an answer to an interrogation or clock command may take, and the silence allowed
            between two answers of an interrogation.
        k, w: most frames sent without acknowledgement, and received before one is given.
        t0, t1, t2, t3: connection, answer, acknowledgement and idle time-outs.
        cause_octets, common_address_octets, object_address_octets: widths of these fields, 2, 2 and 3 in the standard.
    """

    host: str = Field(min_length=1, max_length=253)
    tls: TlsConfig | None = None
    port: int = Field(default_factory=_usual_port, ge=1, le=65_535)
    redundant: Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(max_length=7)] = ()
    tls_reconnect: Seconds | None = 86_400.0
    common_address: Annotated[tuple[CommonAddress, ...], BeforeValidator(_one_or_more), Field(min_length=1)] = (1,)
    time_zone: Annotated[str, BeforeValidator(lambda name: _known_zone(name) if isinstance(name, str) else name)] = (
        "UTC"
    )
    summer_bit: bool = True
    originator: int = Field(default=0, ge=0, le=255)
    clock_sync: Seconds | None = None
    delay_acquisition: bool = False
    test_interval: Seconds | None = None
    gi_interval: Seconds | None = None
    counter_interval: Seconds | None = None
    counter_groups: tuple[Annotated[int, Field(ge=1, le=4)], ...] = ()
    counter_freeze: Literal["none", "freeze", "freeze-reset", "reset"] = "none"
    counter_read: bool = True
    answer_timeout: Seconds = 10.0
    k: int = Field(default=12, ge=1, le=32_767)
    w: int = Field(default=8, ge=1, le=32_767)
    t0: Seconds = 10.0
    t1: Seconds = 15.0
    t2: Seconds = 10.0
    t3: Seconds = 20.0
    cause_octets: int = Field(default=2, ge=1, le=2)
    common_address_octets: int = Field(default=2, ge=1, le=2)
    object_address_octets: int = Field(default=3, ge=1, le=3)

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each redundant address."""
        return tuple(_address(text, self.port) for text in self.redundant)

    @model_validator(mode="after")
    def _consistent(self) -> Iec104Config:
        if self.w > self.k:
            raise ValueError(f"w ({self.w}) must not be greater than k ({self.k})")
        if self.t2 >= self.t1:
            raise ValueError(f"t2 ({self.t2:g} s) must be shorter than t1 ({self.t1:g} s)")
        if len(set(self.common_address)) != len(self.common_address):
            raise ValueError("a common address is given twice")
        if self.common_address_octets == 1 and max(self.common_address) > MAX_SHORT_COMMON_ADDRESS:
            raise ValueError(f"common address {max(self.common_address)} does not fit into one octet")
        if self.originator and self.cause_octets == 1:
            raise ValueError("an originator address needs a cause of transmission of two octets")
        if self.addresses and len({(self.host, self.port), *self.addresses}) <= len(self.addresses):
            raise ValueError("redundant: an address is given twice")
        return self


_MONITOR_NAMES = tuple(name for name, known in BY_NAME.items() if known.monitor)
COMMAND_NAMES = tuple(name for name, known in BY_NAME.items() if 45 <= known.number <= 64 or known.number >= 110)
"""Names of the types that `control` may use."""
MODELS = ("direct-normal", "sbo-normal")
"""Command models: 104 knows no enhanced security of its own."""

_STATES = frozenset({"SPS", "SPC", "ACT", "ACD", "SPG"})
_DOUBLES = frozenset({"DPS", "DPC", "ENS", "ENC", "ENG"})
_WHOLE = frozenset({"INS", "INC", "ING", "ENS", "ENC", "ENG", "BSC", "ISC", "SEC", "DIR"})
_ANALOG = frozenset({"MV", "SAV", "CMV", "APC", "BAC", "ASG", "ANG", "HMVI", "BCR"})
_CDCS: dict[Family, frozenset[str]] = {
    Family.SINGLE: _STATES | {"DPS", "DPC"},
    Family.DOUBLE: _DOUBLES,
    Family.STEP: _WHOLE | {"SPS"},
    Family.BITSTRING: _WHOLE,
    Family.NORMALISED: _ANALOG,
    Family.NORMALISED_BARE: _ANALOG,
    Family.SCALED: _ANALOG | _WHOLE,
    Family.FLOAT: _ANALOG | _WHOLE,
    Family.COUNTER: frozenset({"BCR", "RAW"}) | _WHOLE,
    Family.PROTECTION: _STATES,
    Family.PROTECTION_START: _STATES,
    Family.PROTECTION_OUTPUT: _STATES,
    Family.PACKED_SINGLE: _WHOLE,
}
_BIT_COUNT = {
    Family.BITSTRING: 32,
    Family.PACKED_SINGLE: 16,
    Family.PROTECTION_START: 6,
    Family.PROTECTION_OUTPUT: 4,
}


def _cdcs(fields: Mapping[str, Any]) -> frozenset[str] | None:
    known = BY_NAME.get(str(fields.get("type", "")))
    if known is None:
        return None
    return _STATES if fields.get("bit") is not None else _CDCS.get(known.family)


def common_address_of(config: Any, fields: Mapping[str, Any]) -> int:
    """The common address of a point or control: its own, or the first of the device."""
    own = fields.get("common_address")
    return int(own) if own is not None else int(config.common_address[0])


def source_of(config: Any, fields: Mapping[str, Any]) -> int:
    """Source of a point: bit + 1 (0 for the whole object) << 40 | common address << 24 | information object address."""
    bit = fields.get("bit")
    return (0 if bit is None else int(bit) + 1) << 40 | common_address_of(config, fields) << 24 | int(fields["ioa"])


def _command_source(config: Any, fields: Mapping[str, Any], control: Mapping[str, Any]) -> int:
    common = control.get("common_address", fields.get("common_address"))
    return source_of(config, {"ioa": control["ioa"], "common_address": common})


def alias_of(link: str, _config: Any, source: int | str) -> str:
    """`link/CA/IOA`, with `.bit` where a point is one bit of an object."""
    number = int(source)
    text = f"{link}/{number >> 24 & 0xFFFF}/{number & MAX_ADDRESS}"
    return f"{text}.{(number >> 40) - 1}" if number >> 40 else text


_ALIAS = re.compile(r"([^/]+)/([1-9]\d{0,4})/([1-9]\d{0,7})(?:\.(\d{1,2}))?")


def source_of_alias(value: str) -> tuple[str, int] | None:
    """(link, source) of an alias value; None when it is not of this form."""
    match = _ALIAS.fullmatch(value)
    if match is None:
        return None
    common, address, bit = int(match[2]), int(match[3]), match[4]
    if common > MAX_COMMON_ADDRESS or address > MAX_ADDRESS or (bit is not None and int(bit) > 31):
        return None
    return match[1], (0 if bit is None else int(bit) + 1) << 40 | common << 24 | address


def _check(config: Any, fields: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    known = BY_NAME.get(str(fields.get("type", "")))
    own = fields.get("common_address")
    if own is not None and config is not None and own not in config.common_address:
        listed = ", ".join(map(str, config.common_address))
        problems.append(("common_address", f"the device has no common address {own}, only {listed}"))
    octets = 3 if config is None else config.object_address_octets
    if int(fields.get("ioa", 0)) >= 1 << 8 * octets:
        problems.append(("ioa", f"{fields['ioa']} does not fit into the device's object addresses of {octets} octets"))
    if known is None:
        return problems
    bit = fields.get("bit")
    if bit is not None and int(bit) >= _BIT_COUNT.get(known.family, 0):
        count = _BIT_COUNT.get(known.family)
        problems.append(("bit", f"{known.name} has {count} bits" if count else f"{known.name} has no bits to choose"))
    if fields.get("nominal") is not None and known.family not in {Family.NORMALISED, Family.NORMALISED_BARE}:
        problems.append(("nominal", f"only normalised values have a nominal value, {known.name} has none"))
    return problems


_ADDRESS_FIELD = FieldSpec(
    "ioa", FieldKind.INT, required=True, low=1, high=MAX_ADDRESS, help="information object address"
)
_COMMON_FIELD = FieldSpec(
    "common_address", FieldKind.INT, low=1, high=MAX_COMMON_ADDRESS, help="station, where the device has several"
)

SPEC = ProtocolSpec(
    name="iec104",
    scheme="104",
    config=Iec104Config,
    point_fields=(
        _ADDRESS_FIELD,
        FieldSpec("type", FieldKind.CHOICE, required=True, choices=_MONITOR_NAMES, help="ASDU type, any time tag"),
        _COMMON_FIELD,
        FieldSpec("nominal", FieldKind.NUMBER, help="what the normalised value 1.0 stands for"),
        FieldSpec("bit", FieldKind.INT, low=0, high=31, help="one bit of a bit string, packed or protection object"),
        FieldSpec("read", FieldKind.DURATION, help="read by command this often, for what is not interrogated"),
    ),
    control_fields=(
        _ADDRESS_FIELD,
        FieldSpec("type", FieldKind.CHOICE, required=True, choices=COMMAND_NAMES, help="ASDU type of the command"),
        _COMMON_FIELD,
        FieldSpec("qu", FieldKind.INT, low=0, high=31, help="pulse class: 0 none, 1 short, 2 long, 3 persistent"),
        FieldSpec("qualifier", FieldKind.INT, low=0, high=255, help="QL of a set-point, QPM or QPA of a parameter"),
        FieldSpec("nominal", FieldKind.NUMBER, help="what the normalised set-point 1.0 stands for"),
        FieldSpec("termination", FieldKind.BOOL, help="answer only when the device reports the command terminated"),
    ),
    control_models=MODELS,
    driver="twin_gateway.drivers.iec104.driver:Iec104Driver",
    source=source_of,
    alias=alias_of,
    unalias=source_of_alias,
    command_source=_command_source,
    cdcs=_cdcs,
    check=_check,
    counters={
        "TmoCnt": ("timeouts", "t0_timeouts", "t1_timeouts"),
        "FrmErrCnt": ("framing_errors", "unexpected_control_frames"),
        "SeqErrCnt": ("sequence_errors",),
        "ErrCnt": ("asdu_errors",),
        "UnkTypCnt": ("unknown_type",),
        "UnkCACnt": ("unknown_common_address",),
        "UnkIOACnt": ("unknown_address",),
        "GITms": ("gi_ms",),
        "GICnt": ("interrogations_confirmed",),
        "GIFailCnt": ("interrogations_refused", "interrogations_unanswered"),
        "CntRqCnt": ("counter_interrogations_confirmed",),
        "CntRqFailCnt": ("counter_interrogations_refused", "counter_interrogations_unanswered"),
        "ClkSynCnt": ("clock_commands_confirmed",),
        "ClkSynFailCnt": ("clock_commands_refused", "clock_commands_unanswered"),
        "WinCnt": ("window_closed",),
    },
)
"""The protocol as mapping files and the gateway see it."""
