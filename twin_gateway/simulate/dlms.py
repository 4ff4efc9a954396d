"""DLMS/COSEM meters from a YAML file, many behind one port like behind a concentrator, steered by JSON lines.

    python -m twin_gateway.simulate.dlms meters.yaml

    host: 127.0.0.1
    port: 4059                       # 0: any free port
    framing: wrapper                 # or hdlc, with hdlc: {frame_octets: 128, window: 1}
    defaults: {security: none}       # fields that every meter has unless it says otherwise
    meters:
      m1:
        logical_device: 1            # the wPort; counted up from 1 unless said
        serial: "00000417"
        security: hls-gmac           # none, lls (password), hls-gmac or hls-ecdsa (keys); client: 16, 1 with security
        keys: {authentication: D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF, encryption: 000102030405060708090A0B0C0D0E0F}
        suite: 0                     # 1 with hls-ecdsa
        general_ciphering: false     # offers general-glo- and general-ded-ciphering
        key_agreement: none          # or one-pass, static: how the meter answers general-ciphering with agreed keys
        curve_keys: {signing: m.key, client_signing: c.pem, agreement: m.key, client_agreement: c.pem}   # PEM, P-256
        block_window: 0              # general block transfer, with this window
        pdu_size: 1024
        lists: true                  # offers GET with-list
        clock: {offset: 0, deviation: 120}        # seconds it is wrong; minutes local time is ahead of UTC, or none
        registers:
          1-0:1.8.0: {value: 123456, unit: Wh, integrates: 1-0:1.7.0}      # or rate: 0.3, a second
          1-0:1.7.0: {value: 1520, unit: W}
          1-0:32.7.0: {value: 230.1, unit: V, scaler: -1, swing: 3, period: 60 s}
        profile: {columns: [1-0:1.8.0], period: 15 min, rows: 96}    # history: the rows so far, oldest first
        disconnector: connected      # or disconnected, none

When the port listens, one line goes to stdout: {"ready": true, "ports": {"m1": 4059}}. Each line of stdin is an order:
{"meter": "m1", "obis": "1-0:1.7.0", "value": 980}, {"meter": "m1", "connected": false}, {"meter": "m1", "clock": 90}
(seconds it is wrong) or {"meter": "m1", "silent": true} (it answers nothing). A disconnector that moves says so on
stdout: {"meter": "m1", "connected": false}; nothing flows through an open one. A bad order is answered by a line on
stderr. The end of stdin ends nothing; SIGTERM ends the process.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.acse import Mechanism
from twin_gateway.drivers.dlms.ciphering import Key, Protection
from twin_gateway.drivers.dlms.errors import WrapperError
from twin_gateway.drivers.dlms.hdlc import Parameters
from twin_gateway.drivers.dlms.suite1 import Agreement, AgreementKeys, SigningKeys, load_private, load_public
from twin_gateway.drivers.dlms.wrapper import Deframer, frame
from twin_gateway.durations import Seconds
from twin_gateway.simulate.dlms_hdlc import HdlcStation
from twin_gateway.simulate.dlms_meter import Meter, Register, unit_code
from twin_gateway.simulate.dlms_server import Access, ServerAssociation

_MECHANISMS = {
    "none": Mechanism.NONE,
    "lls": Mechanism.LLS,
    "hls-gmac": Mechanism.HLS_GMAC,
    "hls-ecdsa": Mechanism.HLS_ECDSA,
}


class SimulationError(ValueError):
    """A file or an order that cannot be carried out; the message says why."""


def _hexadecimal(octets: int) -> Callable[[object], object]:
    def check(value: object) -> object:
        text = f"{value:0{octets * 2}}" if isinstance(value, int) else value
        if isinstance(text, str) and len(bytes.fromhex(text)) != octets:
            raise ValueError(f"{octets} octets expected, {octets * 2} hexadecimal digits")
        return text

    return check


Octets16 = Annotated[str, BeforeValidator(_hexadecimal(16))]
Octets8 = Annotated[str, BeforeValidator(_hexadecimal(8))]
Obis = Annotated[str, AfterValidator(lambda text: obis.text(obis.parse(text)))]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


class RegisterFile(_Strict):
    """One register; see Register."""

    value: float = 0.0
    unit: str = "1"
    scaler: int = Field(default=0, ge=-9, le=9)
    rate: float = 0.0
    swing: float = 0.0
    period: Seconds = 60.0
    integrates: Obis | None = None


class KeysFile(_Strict):
    """The global keys of a meter."""

    authentication: Octets16
    encryption: Octets16


class CurveKeysFile(_Strict):
    """PEM files with keys of curve P-256: the meter's private ones, the client's public ones."""

    signing: str | None = None
    client_signing: str | None = None
    agreement: str | None = None
    client_agreement: str | None = None


class HdlcFile(_Strict):
    """What the meters grant at most."""

    frame_octets: int = Field(default=128, ge=32, le=2030)
    window: int = Field(default=1, ge=1, le=7)


class ClockFile(_Strict):
    """How a meter's clock is set."""

    offset: float = 0.0
    deviation: int | None = 0


class ProfileFile(_Strict):
    """The load profile of a meter."""

    columns: list[Obis]
    period: Seconds = 900.0
    rows: int = Field(default=96, ge=1, le=100_000)
    history: list[list[float]] = []


class MeterFile(_Strict):
    """One meter of the file."""

    logical_device: int | None = Field(default=None, ge=1, le=0x7FFF)
    serial: str | None = None
    system_title: Octets8 | None = None
    security: Literal["none", "lls", "hls-gmac", "hls-ecdsa"] = "none"
    suite: Literal[0, 1] = 0
    general_ciphering: bool = False
    key_agreement: Literal["none", "one-pass", "static"] = "none"
    curve_keys: CurveKeysFile = CurveKeysFile()
    block_window: int = Field(default=0, ge=0, le=63)
    client: int | None = None
    password: str = ""
    keys: KeysFile | None = None
    pdu_size: int = Field(default=1024, ge=128, le=0xFFFF)
    lists: bool = True
    clock: ClockFile = ClockFile()
    registers: dict[Obis, RegisterFile] = {}
    profile: ProfileFile | None = None
    disconnector: Literal["connected", "disconnected", "none"] = "none"


class SimulationFile(_Strict):
    """The whole file."""

    host: str = "127.0.0.1"
    port: int = Field(default=4059, ge=0, le=0xFFFF)
    framing: Literal["wrapper", "hdlc"] = "wrapper"
    hdlc: HdlcFile = HdlcFile()
    defaults: dict[str, Any] = {}
    meters: dict[str, dict[str, Any]]


class Station:
    """All meters of a file.

    Args:
        file: the file as read.
        say: takes every line that goes to stdout.

    Raises:
        SimulationError: a meter is described wrongly.
    """

    def __init__(self, file: SimulationFile, say: Callable[[dict[str, Any]], None]) -> None:
        self.meters: dict[str, Meter] = {}
        self._say = say
        self._by_port: dict[int, tuple[Meter, Access]] = {}
        keys: dict[str, Key] = {}
        for number, (name, fields) in enumerate(file.meters.items(), 1):
            try:
                entry = MeterFile.model_validate(file.defaults | fields)
                meter = self._meter(name, number, entry)
                access = _access(number, entry, keys)
            except (ValidationError, ValueError) as error:
                raise SimulationError(f"meter {name}: {error}") from error
            port = entry.logical_device or number
            if port in self._by_port:
                raise SimulationError(f"meter {name}: logical device {port} is taken")
            self.meters[name] = meter
            self._by_port[port] = meter, access

    def _meter(self, name: str, number: int, entry: MeterFile) -> Meter:
        registers = {
            obis.parse(code): Register(
                value=register.value,
                unit=unit_code(register.unit),
                scaler=register.scaler,
                rate=register.rate,
                swing=register.swing,
                period=register.period,
                integrates=obis.parse(register.integrates) if register.integrates else b"",
            )
            for code, register in entry.registers.items()
        }
        profile = entry.profile
        columns = [obis.parse(code) for code in profile.columns] if profile else []
        missing = [obis.text(column) for column in columns if column not in registers]
        if missing:
            raise SimulationError(f"the profile captures {', '.join(missing)}, which is no register")
        return Meter(
            entry.serial or f"{number:08}",
            registers,
            connected=None if entry.disconnector == "none" else entry.disconnector == "connected",
            clock_offset=entry.clock.offset,
            deviation=entry.clock.deviation,
            profile_columns=columns,
            profile_period=profile.period if profile else 900.0,
            profile_rows=profile.rows if profile else 0,
            profile_history=profile.history if profile else None,
            on_switch=lambda connected: self._say({"meter": name, "connected": connected}),
        )

    def association(self, port: int) -> ServerAssociation | None:
        """A fresh association with the meter at a wPort; None when there is no meter."""
        found = self._by_port.get(port)
        return ServerAssociation(*found) if found else None

    def tick(self) -> None:
        """Captures load profiles; to be called about every second."""
        now = time.time()
        for meter in self.meters.values():
            meter.tick(now)

    def order(self, line: str) -> None:
        """Carries out one line of stdin.

        Raises:
            SimulationError: it says what is wrong.
        """
        try:
            order = json.loads(line)
            meter = self.meters[order["meter"]]
            if "connected" in order:
                meter.switch(bool(order["connected"]))
            elif "clock" in order:
                meter.clock_offset = float(order["clock"])
            elif "silent" in order:
                meter.silent = bool(order["silent"])
            else:
                meter.put(obis.parse(order["obis"]), float(order["value"]))
        except (ValueError, TypeError, KeyError) as error:
            raise SimulationError(f"bad order {line.strip()[:200]!r}: {type(error).__name__} {error}") from error


def _access(number: int, entry: MeterFile, keys: dict[str, Key]) -> Access:
    def key(text: str) -> Key:
        return keys.setdefault(text, Key(bytes.fromhex(text)))

    if entry.security in {"hls-gmac", "hls-ecdsa"} and entry.keys is None:
        raise SimulationError(f"{entry.security} needs keys")
    return Access(
        client=entry.client or (16 if entry.security == "none" else 1),
        mechanism=_MECHANISMS[entry.security],
        password=entry.password.encode(),
        encryption=key(entry.keys.encryption) if entry.keys else None,
        authentication=key(entry.keys.authentication) if entry.keys else None,
        title=bytes.fromhex(entry.system_title) if entry.system_title else b"SIM\0" + number.to_bytes(4, "big"),
        pdu_size=entry.pdu_size,
        lists=entry.lists,
        protection=_protection(entry),
        block_window=entry.block_window,
    )


def _protection(entry: MeterFile) -> Protection:
    files, signing, agreement = entry.curve_keys, None, None
    try:
        if files.signing and files.client_signing:
            signing = SigningKeys(load_private(files.signing), load_public(files.client_signing))
        if entry.key_agreement != "none" and files.agreement and files.client_agreement:
            scheme = Agreement.STATIC if entry.key_agreement == "static" else Agreement.ONE_PASS
            agreement = AgreementKeys(load_private(files.agreement), load_public(files.client_agreement), scheme)
    except OSError as error:
        raise SimulationError(str(error)) from error
    if entry.security == "hls-ecdsa" and signing is None:
        raise SimulationError("hls-ecdsa needs curve_keys: {signing: ..., client_signing: ...}")
    return Protection(1 if entry.security == "hls-ecdsa" else entry.suite, entry.general_ciphering, signing, agreement)


class _Connection(asyncio.Protocol):
    """One TCP connection, to any of the meters."""

    def __init__(self, station: Station, hdlc: HdlcFile | None = None) -> None:
        self._station = station
        self._deframer = Deframer()
        self._associations: dict[tuple[int, int], ServerAssociation] = {}
        self._transport: asyncio.Transport | None = None
        self._hdlc: HdlcStation | None = None
        if hdlc is not None:
            octets, window = hdlc.frame_octets, hdlc.window
            self._hdlc = HdlcStation(self._answers, Parameters(octets, octets, window, window))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._hdlc is not None:
            octets = self._hdlc.feed(data)
            if octets:
                self._transport.write(octets)
            return
        try:
            apdus = self._deframer.feed(data)
        except WrapperError:
            self._transport.abort()
            return
        for client, port, apdu in apdus:
            for answer in self._answers(client, port, apdu) or ():
                self._transport.write(frame(port, client, answer))

    def _answers(self, client: int, port: int, apdu: bytes) -> list[bytes] | None:
        """What a meter answers a client; None when there is no meter at the wPort or it keeps silent."""
        who = client, port
        association = self._associations.get(who)
        if association is None or not apdu:
            # A new HDLC link (no APDU) starts anew, like a new connection.
            association = self._station.association(port)
            if association is None:
                return None
            self._associations[who] = association
        if association.silent:
            return None
        return association.answers(client, apdu) if apdu else []


def read(path: Path) -> SimulationFile:
    """The file.

    Raises:
        SimulationError: it cannot be read or is wrong; the message says where.
    """
    try:
        return SimulationFile.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValidationError, ValueError) as error:
        raise SimulationError(f"{path}: {error}") from error


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


async def serve(file: SimulationFile, say: Callable[[dict[str, Any]], None] = _print) -> None:
    """Runs the meters until SIGTERM or SIGINT.

    Raises:
        SimulationError: a meter is described wrongly.
        OSError: the port is taken.
    """
    loop = asyncio.get_running_loop()
    station = Station(file, say)
    hdlc = file.hdlc if file.framing == "hdlc" else None
    server = await loop.create_server(lambda: _Connection(station, hdlc), file.host, file.port, backlog=1024)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def obey(line: str) -> None:
        try:
            station.order(line)
        except SimulationError as error:
            print(error, file=sys.stderr, flush=True)

    def listen() -> None:
        for line in sys.stdin:
            if line.strip():
                loop.call_soon_threadsafe(obey, line)

    threading.Thread(target=listen, daemon=True).start()
    port = server.sockets[0].getsockname()[1]
    say({"ready": True, "ports": dict.fromkeys(station.meters, port)})
    async with server:
        while not stop.is_set():
            station.tick()
            try:
                async with asyncio.timeout(1.0):
                    await stop.wait()
            except TimeoutError:
                continue


def main(arguments: list[str]) -> int:
    """Runs the simulator of the file named in `arguments`; the exit code."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    if len(arguments) != 1:
        print("usage: python -m twin_gateway.simulate.dlms FILE", file=sys.stderr)
        return 2
    try:
        asyncio.run(serve(read(Path(arguments[0]))))
    except (SimulationError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def command(arguments: list[str]) -> None:
    """Command line: FILE; ends the process with its exit code."""
    sys.exit(main(arguments))


if __name__ == "__main__":
    command(sys.argv[1:])
