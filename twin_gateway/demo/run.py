"""`twin-gateway demo`: starts simulators, broker and gateway, says what to try, keeps them going, and ends them all."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from twin_gateway.children import Child, ChildError
from twin_gateway.demo.broker import make_broker
from twin_gateway.demo.files import (
    GRID,
    DemoError,
    find_mappings,
    lay_out,
    make_operator,
    make_secrets,
    ports_of,
    write_gateway,
    write_private,
)
from twin_gateway.mapping.check import check

LINKS_S = 45.0
"""How long all links may take to come up."""
_FAREWELL_S = 15.0
"""How long a part may take to end in good order: the gateway signs off from devices, the field ends its simulators."""
FIELD_S = 40.0
"""How long all simulators may take to listen."""
_PAUSE_S = {"field": 10.0, "broker": 5.0, "gateway": 3.0}
"""How long a part that has ended stays away, so that it can be watched."""
_USUAL_HTTP, _USUAL_MQTT, _USUAL_CONTROL = 8480, 1883, 14999

_POSITIONS = {0: "travelling", 1: "open", 2: "closed"}
_RECLOSING = {
    1: "is ready",
    2: "waits for its pause to end",
    3: "was successful",
    5: "has seen a trip",
    6: "has seen the breaker open",
    7: "waits whether the breaker stays closed",
    8: "closes the breaker",
    9: "has seen another trip",
    10: "gives up: locked out",
    11: "is stopped",
    12: "is not ready",
}
"""AutoReclosingKind in words."""


def run_demo(port: int = 4840, folder: Path | None = None, duration: float | None = None) -> int:
    """Run the demo until Ctrl-C, SIGTERM or for some time; the exit code.

    Args:
        port: of the OPC UA endpoint.
        folder: for the mapping files, which may be edited, logs, certificates and the operator's password; a temporary
            one, removed at the end, unless given.
        duration: seconds to run once everything is up; None for ever.
    """
    console = Console(highlight=False, soft_wrap=True)
    own = folder is None
    place = Path(tempfile.mkdtemp(prefix="twin-gateway-demo-")) if folder is None else folder.absolute()
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    good = False
    try:
        asyncio.run(_run(place, port, duration, console))
        good = True
    except* (DemoError, ChildError) as group:
        for error in _flat(group):
            console.print(f"[bold red]error:[/] {error}")
    told = any((place / "logs").glob("*.log"))
    if own and (good or not told):
        shutil.rmtree(place, ignore_errors=True)
    elif not good and told:
        console.print(f"logs are in {place / 'logs'}")
    return 0 if good else 1


def _flat(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _flat(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _run(folder: Path, port: int, duration: float | None, console: Console) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    demo = _Demo(folder, port, console)
    work = asyncio.create_task(demo.run(duration))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        console.print("stopping ...")
    finally:
        stopped.cancel()
        work.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)
        await demo.end()


class _Demo:
    """Everything that runs, in the order in which it starts."""

    def __init__(self, folder: Path, port: int, console: Console) -> None:
        self._folder, self._port, self._console = folder, port, console
        self._logs = folder / "logs"
        self._field: Child | None = None
        self._simulators: dict[str, int] = {}
        self._broker: Child | None = None
        self._gateway: Child | None = None
        self._http = self._mqtt = self._control = 0
        self._password = ""
        self._edited = folder

    # -- life --------------------------------------------------------------------------------------------------------

    async def run(self, duration: float | None) -> None:
        """Start everything, say what to try, and keep it going.

        Raises:
            DemoError, ChildError: something is missing or does not start.
        """
        began = time.monotonic()
        demo = find_mappings() / "demo"
        if importlib.util.find_spec("c104") is None:
            raise DemoError("the 104 simulator needs c104: pip install 'twin-gateway[demo]'")
        self._logs.mkdir(mode=0o700, exist_ok=True)
        # The field is what it is, whatever the gateway's files say of it.
        self._edited = await asyncio.to_thread(lay_out, demo, self._folder)
        environment = {**os.environ, **make_secrets()}
        paths = [demo.parent / "templates", demo]
        mapping, problems = check(paths, environ=environment)
        if mapping is None:
            raise DemoError("the mapping files have errors:\n" + "\n".join(map(str, problems)))
        self._http = _usual_or_free(_USUAL_HTTP)
        self._mqtt = _usual_or_free(_USUAL_MQTT)
        self._control = _usual_or_free(_USUAL_CONTROL)
        self._refuse_taken_ports(ports_of(mapping))
        self._password = await asyncio.to_thread(make_operator, self._folder)

        self._console.print(f"starting the field: {len(mapping.devices)} devices ...")
        log = self._logs / "broker.log"
        self._broker = make_broker(self._folder / "broker", self._mqtt, log, environment)
        if self._broker is not None:
            await self._broker.start()
        self._field = self._make_field(demo, paths, environment)
        await self._start_field()
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._start_gateway(demo, environment)
            self._say(await self._links_up(), time.monotonic() - began)
            named = ((self._field, "field"), (self._broker, "broker"), (self._gateway, "gateway"))
            parts = [(child, kind) for child, kind in named if child]
            tasks += [asyncio.create_task(self._keep(child, kind), name=child.name) for child, kind in parts]
            # None of them ever ends by itself but with an error.
            ended, _ = await asyncio.wait(tasks, timeout=duration, return_when=asyncio.FIRST_EXCEPTION)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _make_field(self, demo: Path, paths: list[Path], environment: Mapping[str, str]) -> Child:
        """The field: the physics of the grid behind a simulator of every device."""
        command: list[str | Path] = [sys.executable, "-m", "twin_gateway", "simulate", "feeder", demo / GRID]
        for path in paths:
            command += ["--mappings", path]
        command += ["--control", str(self._control), "--folder", self._folder]
        return Child("field", command, self._logs / "field.log", on_line=self._heard, environment=environment)

    async def _start_field(self) -> None:
        if self._field is not None:
            await self._field.start()
            await self._field.wait_ready(FIELD_S)
            self._simulators = dict(self._field.ready_line.get("processes", {}))

    async def _start_gateway(self, demo: Path, environment: Mapping[str, str]) -> None:
        mqtt = self._mqtt if self._broker is not None else None
        config = write_gateway(demo, self._folder, opcua=self._port, http=self._http, mqtt=mqtt, control=self._control)
        command: list[str | Path] = [sys.executable, "-m", "twin_gateway", "run", config]
        self._gateway = Child("gateway", command, self._logs / "gateway.log", environment=environment)
        self._console.print("starting the gateway ...")
        await self._gateway.start()

    async def end(self) -> None:
        """End everything, the gateway first so that it signs off from devices and broker."""
        for child in (self._gateway, self._broker):
            if child is not None:
                await child.end(patience=_FAREWELL_S)
        if self._field is not None:
            await self._field.end(patience=_FAREWELL_S)

    # -- watching ----------------------------------------------------------------------------------------------------

    def _refuse_taken_ports(self, ports: Mapping[int, str]) -> None:
        wanted = {**ports, self._port: "the OPC UA endpoint"}
        taken = [f"{port} ({name})" for port, name in sorted(wanted.items()) if not _free(port)]
        if taken:
            raise DemoError(
                f"ports are taken: {', '.join(taken)}. Does another demo run? `--port` moves the OPC UA endpoint; "
                "the ports of the devices stand in mappings/demo"
            )

    async def _links_up(self) -> dict[str, Any]:
        """Health of the gateway once all links are up, or after the time they have; then with those that are not."""
        health: dict[str, Any] = {}
        until = time.monotonic() + LINKS_S
        while time.monotonic() < until:
            if self._gateway is None or not self._gateway.running:
                words = self._gateway.last_words() if self._gateway else ""
                raise ChildError(f"the gateway has ended:\n{words}")
            health = await asyncio.to_thread(_health, self._http)
            if health and not health["links_down"] and health.get("mqtt", "connected") == "connected":
                return health
            await asyncio.sleep(0.25)
        if not health:
            raise ChildError(f"the gateway does not answer:\n{self._gateway.last_words() if self._gateway else ''}")
        return health

    async def _keep(self, child: Child, kind: str) -> None:
        """Start a part again that has ended."""
        while True:
            await child.wait()
            self._console.print(f"{child.name} has ended; it starts again in {_PAUSE_S[kind]:.0f} s")
            await asyncio.sleep(_PAUSE_S[kind])
            try:
                if kind == "field":
                    await self._start_field()
                else:
                    await child.start()
            except ChildError as error:
                self._console.print(str(error))
                await child.end()
                continue
            self._console.print(f"{child.name} runs again (process {child.pid})")
            self._write_facts()

    # -- saying ------------------------------------------------------------------------------------------------------

    def _write_facts(self) -> None:
        """`demo.json` in the folder, for scripts: where everything is."""
        children = [child for child in (self._gateway, self._broker, self._field) if child is not None]
        facts = {
            "config": str(self._folder / "gateway.yaml"),
            "mappings": str(self._edited),
            "endpoint": f"opc.tcp://127.0.0.1:{self._port}",
            "http": f"http://127.0.0.1:{self._http}",
            "mqtt": self._mqtt if self._broker is not None else None,
            "user": "operator",
            "password": self._password,
            "control": self._control,
            "processes": {child.name: child.pid for child in children} | self._simulators,
        }
        write_private(self._folder / "demo.json", json.dumps(facts, indent=2) + "\n")

    def _heard(self, line: dict[str, Any]) -> None:
        """A line of the field: say what has happened there."""
        match line:
            case {"processes": dict(processes)}:
                self._simulators = processes
                self._write_facts()
            case {"moved": address, "value": position}:
                what = _POSITIONS.get(position, "") if str(address).endswith("/Pos") else ""
                self._console.print(f"{address} is now {what or position}")
            case {"switched": address, "value": position}:
                self._console.print(f"{address} is {_POSITIONS.get(position, position)}")
            case {"event": "trip", "address": address, "value": value}:
                self._console.print(f"{address}: protection {'has tripped' if value else 'has reset'}")
            case {"event": "reclosing", "address": address, "value": value}:
                self._console.print(f"{address}: recloser {_RECLOSING.get(value, value)}")
            case {"event": what, "address": address, "value": value}:
                self._console.print(f"{address}: {what} {value}")

    def _say(self, health: Mapping[str, Any], seconds: float) -> None:
        self._write_facts()
        down = health["links_down"]
        up = f"all {health['links']} links are up" if not down else f"{len(down)} of {health['links']} links are DOWN"
        table = Table(title=f"{health['points']} points, {up} after {seconds:.0f} s", show_header=False, box=None)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        bay = "dso1/north/PS01/MV1/F01"
        inject = f"twin-gateway inject{'' if self._control == _USUAL_CONTROL else f' --port {self._control}'}"
        rows = {
            "OPC UA": f"opc.tcp://127.0.0.1:{self._port}  (on this machine anyone may look: anonymous, security None)",
            "operator": f"user operator, password {self._password}  (SignAndEncrypt; also in operator.txt)",
            "browse": f"Objects/Grid/{bay}/QA1/XCBR1/Pos",
            "command": f"Select, then Operate on {bay}/QA1/CSWI1: Pos, 1 to open, 2 to close; "
            "everything behind it loses voltage, the meters too",
            "fault": f"{inject} fault L08: the breaker trips, recloses twice and stays open; {inject} clear",
            "watch": f"{bay}/IED1/RREC1/AutoRecSt, and RMU02 to RMU09: MV1/C*/_/SFPI1/FltInd and SVPI1/Prs",
            "more": f"{inject} --help: stuck switches, lost links, wrong clocks, lying indicators, bypassed meters",
            "change": f"edit the files in {self._edited}, then twin-gateway plan --running, and apply, each with "
            f"--config {self._folder / 'gateway.yaml'}",
            "health": f"http://127.0.0.1:{self._http}/healthz and /metrics",
            "logs": str(self._logs),
        }
        if self._broker is not None:
            rows["MQTT"] = f"mosquitto_sub -h 127.0.0.1 -p {self._mqtt} -v -t 'twin/#'  ({self._broker.name})"
        else:
            rows["MQTT"] = "off: there is neither mosquitto nor nats-server on this machine"
        if self._simulators:
            some = ", ".join(f"{name} {pid}" for name, pid in self._simulators.items())
            rows["fail"] = f"kill one of {some}: its points alone turn Uncertain; it is started again after 10 s"
        for name, text in rows.items():
            table.add_row(name, text)
        self._console.print(table)
        for name, reason in down.items():
            self._console.print(f"[bold red]{name} is down:[/] {reason}")
        self._console.print("Ctrl-C ends the demo.")


def _free(port: int) -> bool:
    """Whether nobody listens on a port of this machine, TCP or UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                # Connections of an earlier run that still linger are no listeners.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _usual_or_free(port: int) -> int:
    if _free(port):
        return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _health(port: int) -> dict[str, Any]:
    """What `/healthz` says; empty while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection.request("GET", "/healthz")
        answer: dict[str, Any] = json.loads(connection.getresponse().read(1 << 20))
        return answer
    return {}
