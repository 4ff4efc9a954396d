"""`twin-gateway demo` as a user runs it: starts, moves, agrees, obeys, comes back, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from asyncua import Client, ua
from asyncua.crypto.cert_gen import dump_private_key_as_pem, generate_private_key, generate_self_signed_app_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from peers.ports import free_port
from peers.waiting import PATIENCE, patient, wait_until

NORTH = "dso1/north"
DEVICE_PORTS = (10101, 10102, *range(12401, 12434), 14214, 14222)
CLIENT = "urn:example:demo-test"


def taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Demo:
    """One running demo."""

    def __init__(self, folder: Path) -> None:
        # The ports of the devices stand in the mapping files: only one demo at a time.
        wait_until(lambda: not any(map(taken, DEVICE_PORTS)), 60, "the ports of the devices are free")
        self.folder, self.out = folder, folder.with_suffix(".out")
        command = [sys.executable, "-m", "twin_gateway", "demo", "--port", str(free_port()), "--folder", str(folder)]
        began = time.monotonic()
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        wait_until(lambda: (folder / "demo.json").exists() or self.process.poll() is not None, 60, self.text())
        assert self.process.poll() is None, self.text()
        self.seconds = time.monotonic() - began
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def text(self) -> str:
        return self.out.read_text("utf-8") if self.out.exists() else ""

    @property
    def facts(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "demo.json").read_text("utf-8")))

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.facts['http']}/healthz", timeout=5) as answer:
            return dict(json.load(answer))

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def survivors(self) -> list[psutil.Process]:
        return psutil.wait_procs(self.children, timeout=8)[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo") / "run")
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGTERM)


class Eyes:
    """An OPC UA client that reads by address."""

    def __init__(self, client: Client, index: int) -> None:
        self.client, self.index = client, index

    async def value(self, address: str) -> Any:
        """The value; a point that has just come into being gets some time for its first one."""
        node, deadline = self.client.get_node(f"ns={self.index};s={NORTH}/{address}"), time.monotonic() + 10
        while True:
            try:
                return await node.read_value()
            except ua.UaStatusCodeError as error:
                if error.code != ua.StatusCodes.BadWaitingForInitialData or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def operate(self, node: str, verb: str, position: int) -> list[Any]:
        owner = self.client.get_node(f"ns={self.index};s={NORTH}/{node}")
        methods = {(await child.read_browse_name()).Name: child for child in await owner.get_methods()}
        arguments: list[Any] = ["Pos", ua.Variant(position, ua.VariantType.Int32), False, True, True]
        if verb == "Operate":
            arguments += ["demo test", ""]
        return list(await owner.call_method(methods[verb], *arguments))


async def with_eyes(
    demo: Demo, look: Callable[[Eyes], Awaitable[None]], certificate: tuple[Path, Path] | None = None
) -> None:
    client = Client(demo.facts["endpoint"], timeout=60, watchdog_intervall=60)
    client.session_timeout = 60_000
    if certificate is not None:
        client.application_uri = CLIENT
        client.set_user(demo.facts["user"])
        client.set_password(demo.facts["password"])
        await client.set_security(
            SecurityPolicyBasic256Sha256,
            str(certificate[0]),
            str(certificate[1]),
            mode=ua.MessageSecurityMode.SignAndEncrypt,
        )
    async with patient(60), client:
        await look(Eyes(client, await client.get_namespace_index("https://dso1.example.org")))


@pytest.fixture
def certificate(tmp_path) -> tuple[Path, Path]:
    key = generate_private_key()
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(CLIENT), x509.DNSName("localhost")]
    made = generate_self_signed_app_certificate(
        key, "demo test", {"commonName": "demo test"}, names, [ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    files = tmp_path / "client.der", tmp_path / "client.pem"
    files[0].write_bytes(made.public_bytes(Encoding.DER))
    files[1].write_bytes(dump_private_key_as_pem(key))
    return files


def test_it_is_up_soon_with_every_link_and_more_than_1500_points(demo):
    health = demo.health()
    assert demo.seconds < 30 * PATIENCE
    assert health["links_down"] == {}
    assert health["links"] == 2 + 33 + 20 + 10
    assert health["points"] > 1500
    assert health["mqtt"] == "connected"


def test_it_says_what_to_try(demo):
    text = wait_until(lambda: "Ctrl-C ends" in demo.text() and demo.text(), 5, "the demo has said everything")
    for expected in (demo.facts["endpoint"], "mosquitto_sub", "/healthz", demo.facts["password"], "QA1/CSWI1"):
        assert expected in text


async def test_values_move_and_agree_with_each_other(demo):
    async def look(eyes: Eyes) -> None:
        feeder = "PS01/MV1/F01/_/MMXU1/TotW"
        first = await eyes.value(feeder)
        async with patient(20):
            while await eyes.value(feeder) == first:
                await asyncio.sleep(0.2)
        behind = [await eyes.value(f"RMU{number:02}/MV1/T01/_/MMXU1/TotW") for number in range(2, 34)]
        # What is lost on the lines, deadbands, and some seconds between the tellings of two devices.
        assert sum(behind) < await eyes.value(feeder) < 1.1 * sum(behind)
        customers = [await eyes.value(f"SP14{number:04}/LV1/_/M1/MMXU1/TotW") for number in range(1, 10)]
        # The meter at the transformer counts into it, and is read every 5 s, one after the other.
        assert -await eyes.value("TS14/LV1/_/M0/MMXU1/TotW") == pytest.approx(sum(customers), rel=0.15)
        assert await eyes.value("L01/MV1/_/WB1/STMP1/Tmp") > 5

    await with_eyes(demo, look)


async def test_the_nameplates_make_figures_of_the_condition_of_switchgear(demo):
    async def look(eyes: Eyes) -> None:
        for place in ("PS01/MV1/F01/QA1", "RMU06/MV1/C05/QB1"):
            assert await eyes.value(f"{place}/twHLTH1/RemOps") > 50
            assert 50 < await eyes.value(f"{place}/twHLTH1/RemLifePct") < 100
        # Of the ring-main unit too little is known for an index that is certain.
        async with patient(15):
            while await eyes.value("PS01/MV1/F01/QA1/twHLTH1/Conf") < 0.9:
                await asyncio.sleep(0.2)
        assert await eyes.value("PS01/MV1/F01/QA1/twHLTH1/HealthIdx") > 85
        assert await eyes.value("PS01/MV1/F01/QA1/twHLTH1/PresN") == pytest.approx(140_000, rel=0.01)
        assert await eyes.value("PS01/MV1/F01/QA1/twHLTH1/Gas") > 90

    await with_eyes(demo, look)


async def test_an_opened_breaker_takes_the_voltage_from_the_meters_behind_it(demo, certificate):
    async def look(eyes: Eyes) -> None:
        switch, meter = "PS01/MV1/F01/QA1/CSWI1", "SP220005/LV1/_/M1/MMXU1/PhV/phsA"
        assert await eyes.value(meter) > 200
        for position, wanted in ((1, lambda volts: volts == 0), (2, lambda volts: volts > 200)):
            await eyes.operate(switch, "Select", position)
            await eyes.operate(switch, "Operate", position)
            assert await eyes.value("PS01/MV1/F01/QA1/XCBR1/Pos") == position
            async with patient(15):
                while not wanted(await eyes.value(meter)):
                    await asyncio.sleep(0.2)
            # The rate limit of the command desk.
            await asyncio.sleep(0.6)

    await with_eyes(demo, look, certificate)


async def test_a_fault_from_the_command_line_is_seen_by_the_indicators(demo):
    def inject(*words: str) -> None:
        command = [sys.executable, "-m", "twin_gateway", "inject", "--port", str(demo.facts["control"]), *words]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode == 0, ended.stderr

    async def look(eyes: Eyes) -> None:
        await asyncio.to_thread(inject, "fault", "L08", "--temporary")
        async with patient(10):
            while not await eyes.value("RMU08/MV1/C08/_/SFPI1/FltInd"):
                await asyncio.sleep(0.1)
            while await eyes.value("PS01/MV1/F01/IED1/RREC1/AutoRecSt") != 7:
                await asyncio.sleep(0.1)
        assert not await eyes.value("RMU09/MV1/C08/_/SFPI1/FltInd")
        assert await eyes.value("PS01/MV1/F01/QA1/XCBR1/Pos") == 2

    await with_eyes(demo, look)


def test_a_killed_simulator_is_started_again_and_its_link_comes_back(demo):
    before = demo.facts["processes"]["ied-e01"]
    psutil.Process(before).kill()
    wait_until(lambda: set(demo.health()["links_down"]) == {"ied-e01"}, 10, "its link alone is down")
    after = wait_until(lambda: demo.facts["processes"]["ied-e01"] not in (0, before), 25, "it runs again")
    assert after
    wait_until(lambda: not demo.health()["links_down"], 40, "its link is up again")


def test_sigterm_ends_it_with_no_process_left(demo):
    demo.children = psutil.Process(demo.process.pid).children(recursive=True)
    assert len(demo.children) >= 10
    assert demo.end(signal.SIGTERM) == 0
    assert demo.survivors() == []
    assert "Traceback" not in demo.text()
    log = (demo.folder / "logs" / "gateway.log").read_text("utf-8")
    assert "Traceback" not in log


def test_a_demo_that_is_killed_while_it_starts_takes_its_children_with_it(tmp_path):
    wait_until(lambda: not any(map(taken, DEVICE_PORTS)), 60, "the ports of the devices are free")
    command = [sys.executable, "-m", "twin_gateway", "demo", "--port", str(free_port()), "--folder", tmp_path / "r"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # The broker, the field and its simulators, one of them grandchildren.
    wait_until(lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 9, 40, "all simulators run")
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert psutil.wait_procs(children, timeout=20)[1] == []


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 12402)):
        command = [sys.executable, "-m", "twin_gateway", "demo", "--port", str(free_port()), "--folder", tmp_path / "r"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "12402 (rtu-rmu02)" in ended.stdout
