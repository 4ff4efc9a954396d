"""Modbus TCP as a plug-in: registers and coils are polled, a coil is operated. Modbus has neither quality nor time."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from address_space.addcause import AddCause
from address_space.point import Batch
from address_space.ports import Outcome, Verb
from address_space.quality import Quality, StatusCode
from twin_gateway.drivers import contract
from twin_gateway.drivers.capture import Carrier, Flow
from twin_gateway.drivers.contract import FieldKind, FieldSpec, LinkLost
from twin_gateway.durations import Seconds

TYPES = {"bool": ("", 1), "u16": (">H", 1), "i16": (">h", 1), "u32": (">I", 2), "i32": (">i", 2), "f32": (">f", 2)}
BITS = {"coil": "read_coils", "discrete": "read_discrete_inputs"}
READS = BITS | {"holding": "read_holding_registers", "input": "read_input_registers"}


class ModbusConfig(contract.DeviceConfig):
    """Device section of `protocol: modbus`: where it is, its unit identifier, and how often it is polled."""

    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=502, ge=1, le=65_535)
    unit: int = Field(default=1, ge=0, le=255)
    poll: Seconds = 1.0
    timeout: Seconds = 3.0

    @property
    def way(self) -> str:
        """Units behind one address are lost together."""
        return f"{self.host}:{self.port}"


class ModbusDriver:
    """Driver of one device; see `twin_gateway.drivers.contract.Driver` for its obligations."""

    def __init__(self, name: str, config: ModbusConfig, points: Sequence[contract.BoundPoint]) -> None:
        self._name, self._config = name, config
        self._points = {point.row: point for point in points}
        self._client: AsyncModbusTcpClient | None = None

    async def run(self, link: contract.Link) -> None:
        """Connect and poll until the device no longer answers; raises LinkLost then."""
        config = self._config

        def trace(sending: bool, octets: bytes) -> bytes:
            if octets:
                link.traffic(sending, octets)
            return octets

        client = AsyncModbusTcpClient(
            config.host, port=config.port, timeout=config.timeout, retries=0, reconnect_delay=0, trace_packet=trace
        )
        try:
            if not await client.connect():
                raise LinkLost(f"{config.way} takes no connection")
            local, remote = (client.ctx.transport.get_extra_info(name)[:2] for name in ("sockname", "peername"))
            link.connected(Flow(Carrier.TCP, local, remote))
            self._client = client
            while True:
                await self._poll(link, client)
                await asyncio.sleep(config.poll)
        except ModbusException as error:
            raise LinkLost(f"{config.way} no longer answers: {error}") from error
        finally:
            self._client = None
            client.close()

    async def _poll(self, link: contract.Link, client: AsyncModbusTcpClient) -> None:
        rows, values, qualities = list(self._points), list[float](), list[int]()
        for point in [self._points[row] for row in rows]:
            table, (code, size) = point.fields["table"], TYPES[point.fields.get("type", "u16")]
            read = getattr(client, READS[table])
            answer = await read(point.fields["register"], count=size, device_id=self._config.unit)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # the library loses a cancellation that meets an answer
            link.up()
            given = answer.bits if table in BITS else answer.registers
            good = not answer.isError() and len(given) >= size
            if not good:
                link.count("read_errors")
                link.error(f"the device refuses to read, or gives something else: {answer}", point.address)
                values.append(0.0)
            elif table in BITS:
                values.append(given[0] + (point.cdc in {"DPC", "DPS"}))
            else:
                values.append(struct.unpack(code, struct.pack(f">{size}H", *given[:size]))[0])
            qualities.append(0 if good else int(Quality.INVALID | Quality.FAILURE))
        link.publish(Batch.of(rows, values, qualities))

    async def execute(self, command: contract.DeviceCommand) -> Outcome:
        """Write a coil; Good when the device echoes it."""
        client, number = self._client, command.command_id
        if client is None:
            lost = AddCause.ABORTION_BY_COMMUNICATION_LOSS
            return Outcome(StatusCode.BadNoCommunication, lost, "link", f"no connection with {self._name}", number)
        if command.verb is not Verb.OPERATE or command.test:
            text = f"Modbus has no {'test commands' if command.test else command.verb}"
            return Outcome(StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "device", text, number)
        state = bool(command.value == 2 if command.point.cdc in {"DPC", "DPS"} else command.value)
        coil = (command.point.control or {})["coil"]
        try:
            async with asyncio.timeout(command.timeout):
                answer = await client.write_coil(coil, state, device_id=self._config.unit)
        except (TimeoutError, ModbusException) as error:
            text = f"no answer from the device, the outcome is unknown: {error or 'time-out'}"
            return Outcome(StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", text, number, sent=True)
        if answer.isError() or answer.bits[:1] != [state]:
            text = f"the device refuses, or echoes something else: {answer}"
            return Outcome(StatusCode.BadInvalidState, AddCause.UNKNOWN, "device", text, number, sent=True)
        return Outcome(StatusCode.Good, text="the device took it", command_id=number, sent=True)

    async def update(self, change: contract.PointChange) -> None:
        """Add and remove points without reconnecting."""
        for point in change.removed:
            self._points.pop(point.row, None)
        self._points.update({point.row: point for point in change.added})

    async def discover(self) -> Sequence[contract.DiscoveredPoint]:
        """Modbus devices do not say what they have: nothing. Raises LinkLost without a connection."""
        if self._client is None:
            raise LinkLost(f"no connection with {self._name}")
        return []


def _unalias(value: str) -> tuple[str | None, int | str] | None:
    link, _, source = value.partition("/")
    return (link, source) if source.partition("/")[0] in READS else None


def _check(_config: Any, fields: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    bits = fields["table"] in BITS
    if bits is not (fields.get("type", "bool" if bits else "u16") == "bool"):
        return [("type", f"{fields['table']} and {fields['type']} do not go together")]
    return ()


SPEC = contract.ProtocolSpec(
    name="modbus",
    scheme="modbus",
    config=ModbusConfig,
    point_fields=(
        FieldSpec("table", FieldKind.CHOICE, required=True, choices=tuple(READS), help="which table of the device"),
        FieldSpec("register", FieldKind.INT, required=True, low=0, high=65_535, help="number in it, from 0"),
        FieldSpec("type", FieldKind.CHOICE, choices=tuple(TYPES), help="u16 unless said, bool of coils"),
    ),
    control_fields=(FieldSpec("coil", FieldKind.INT, required=True, low=0, high=65_535, help="the coil to write"),),
    control_models=("direct-normal",),
    driver="twin_gateway_modbus:ModbusDriver",
    source=lambda _config, fields: f"{fields['table']}/{fields['register']}",
    alias=lambda link, _config, source: f"{link}/{source}",
    unalias=_unalias,
    command_source=lambda _config, _fields, control: f"coil/{control['coil']}",
    check=_check,
    counters={"ErrCnt": ("read_errors",)},
)
