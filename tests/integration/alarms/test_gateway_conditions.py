"""A gateway without twin functions keeps alarms: from the mapping's rule over a restart to the metrics and to MQTT."""

from __future__ import annotations

import datetime
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from asyncua import Client, ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from peers.alarm_station import configured
from peers.ports import free_port
from peers.waiting import until

from address_space import clock
from address_space.events import Event, EventJournal
from address_space.point import Batch
from address_space.ports import Caller, ConditionVerb
from twin_gateway.functions.alarms import Alarms
from twin_gateway.gateway import Gateway
from twin_gateway.gateway_metrics import collect
from twin_gateway.metrics import render
from twin_gateway.mqtt.encode import event_object
from twin_gateway.own_conditions import OwnConditions
from twin_gateway.security.users import User
from twin_gateway.system_points import PARTS

DOOR = "dso1/north/PS01/MV1/F01/_/GGIO1/Ind1"
POINT = "_/GGIO1/Ind1: {ioa: 1, type: M_SP_TB_1, alarm: {normal: false, code: C10, text: Door}}"
OLGA = Caller("olga", frozenset({"Operator"}), "10.1.1.1:5000")
USERS = {"olga": User(password="$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", roles=("Operator",))}
Make = Callable[[], Awaitable[Gateway]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Make]:
    config, mapping = configured(tmp_path, free_port(), POINT, anonymous="observe")
    made: list[Gateway] = []

    async def one() -> Gateway:
        made.append(Gateway(config, mapping, USERS))
        await made[-1].start()
        return made[-1]

    yield one
    for each in made:
        await each.stop()


def _tell(gateway: Gateway, value: float) -> None:
    gateway.table.ingest(Batch.of([gateway.table.find(DOOR)], [value], 0, clock.now()))


async def test_an_alarm_lives_from_the_field_over_a_restart_to_its_end(start: Make) -> None:
    first = await start()
    assert first.config.twin is None
    cursor = first.events.cursor("test")
    _tell(first, 1)
    await until(lambda: first.alarms.holds("C10", DOOR))
    (event,) = [each for each in cursor.take() if each.code == "C10"]
    assert event.condition is not None
    identifier = event.condition.id
    store = first.conditions
    status = await store.act(identifier, ConditionVerb.ACKNOWLEDGE, OLGA, event_id=event.condition.event_id)
    assert status == 0
    (record,) = [each for each in await first.audit.records() if each.kind.startswith("condition.")]
    assert (record.kind, record.user) == ("condition.acknowledge", "olga")
    metrics = render(collect(first))
    assert "twin_gateway_conditions_active 1" in metrics
    assert "twin_gateway_conditions_unacknowledged 0" in metrics
    await first.stop()

    second = await start()
    kept = second.conditions.get(identifier)
    assert kept is not None and (kept.active, kept.acked) == (True, True)
    assert second.conditions.waits(DOOR, "C10")
    second.conditions.tick()
    _tell(second, 0)
    await until(lambda: not _active(second, identifier))
    ended = second.conditions.get(identifier)
    assert ended is not None and not ended.retain


def _active(gateway: Gateway, identifier: str) -> bool:
    condition = gateway.conditions.get(identifier)
    return condition is not None and condition.active


async def test_the_mirrored_event_says_how_the_condition_stands() -> None:
    events = EventJournal()
    cursor = events.cursor("test")
    Alarms(events).raise_("C10", DOOR, "Door", 500, value=True)
    (event,) = cursor.take()
    assert event.condition is not None
    condition = json.loads(event_object(event))["condition"]
    assert condition == {
        "id": f"{DOOR}$C10",
        "event": event.condition.event_id.hex(),
        "type": "OffNormalAlarmType",
        "class": "Process",
        "active": True,
        "acked": False,
        "confirmed": True,
        "shelved": False,
        "suppressed": False,
        "enabled": True,
        "retain": True,
    }
    assert "condition" not in json.loads(event_object(events.append(Event("S05", "Refused"))))


def _certificate(path: Path, days: float) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.stem)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.public_bytes(serialization.Encoding.DER))


async def test_certificates_that_expire_are_conditions_of_their_own_type(tmp_path: Path) -> None:
    alarms = Alarms(EventJournal())
    own = OwnConditions(alarms, "dso1/_sys/gw1", tmp_path)
    _certificate(tmp_path / "pki/own/certificate.der", 400)
    _certificate(tmp_path / "pki/trusted/certs/scada.der", 10.5)
    (tmp_path / "pki/own/private_key.pem").write_text("no certificate")
    await own.look_at_certificates()
    (condition,) = alarms.book.snapshot()
    assert (condition.address, condition.type_name) == (own.part("trusted"), "CertificateExpirationAlarmType")
    assert (condition.severity, condition.text) == (500, "Certificate: scada.der expires in 10 days")
    _certificate(tmp_path / "pki/trusted/certs/scada.der", -1)
    await own.look_at_certificates()
    expired = alarms.book.get(condition.id)
    assert expired is not None and (expired.severity, expired.active) == (900, True)
    _certificate(tmp_path / "pki/trusted/certs/scada.der", 400)
    await own.look_at_certificates()
    renewed = alarms.book.get(condition.id)
    assert renewed is not None and not renewed.active


def test_a_broker_that_is_gone_and_functions_that_fail_are_conditions(tmp_path: Path) -> None:
    time = [0.0]
    events = EventJournal()
    alarms = Alarms(events, monotonic=lambda: time[0])
    why, failed = ["no route"], {"flisr": "ValueError"}
    own = OwnConditions(alarms, "dso1/_sys/gw1", tmp_path, broker=lambda: why[0], failed=lambda: failed)
    own.look()
    assert not alarms.holds("G02", own.part("mqtt")), "a broker may be away for some seconds"
    time[0] = 5.0
    own.look()
    assert alarms.holds("G02", own.part("mqtt"))
    assert alarms.holds("G02", own.part("twin"))
    why[0] = ""
    failed.clear()
    own.look()
    assert not list(alarms.active())
    assert [condition.retain for condition in alarms.book.snapshot()] == [True, True]


async def test_a_disk_that_is_nearly_full_is_a_condition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    alarms = Alarms(EventJournal())
    own = OwnConditions(alarms, "dso1/_sys/gw1", tmp_path)
    usage = shutil.disk_usage(tmp_path)
    for free, severities in ((100 << 20, [600]), (10 << 20, [800]), (1 << 40, [])):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, free=free: usage._replace(free=free))
        await own.look_at_disk()
        assert [alarm.severity for alarm in alarms.active()] == severities


async def test_a_damaged_file_of_alarms_is_put_aside_and_waits_for_somebody_to_see_it(
    start: Make, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "alarms.sqlite").write_bytes(b"no database at all, but some text that is long enough " * 100)
    gateway = await start()
    condition = gateway.conditions.get(f"{gateway.place}/_/_/files$G02")
    assert condition is not None
    assert (condition.active, condition.acked, condition.retain) == (False, False, True)
    assert "kept as alarms-damaged.sqlite" in condition.text
    assert {record.kind for record in await gateway.audit.records()} == {"file.damaged"}
    assert (data / "alarms-damaged.sqlite").read_bytes().startswith(b"no database")


async def test_safety_tags_that_cannot_be_read_stop_commands_and_nothing_else(start: Make, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "tags.sqlite").write_bytes(b"no database at all, but some text that is long enough " * 100)
    gateway = await start()
    assert gateway.tags is not None and not gateway.tags.is_open
    condition = gateway.conditions.get(f"{gateway.place}/_/_/tags$G02")
    assert condition is not None and condition.active and "no switch is commanded" in condition.text
    assert (data / "tags.sqlite").exists(), "nobody takes damaged tags for none"


async def test_each_part_of_the_gateway_that_has_conditions_can_be_browsed_as_their_source(start: Make) -> None:
    gateway = await start()
    own = OwnConditions(gateway.alarms, gateway.place, gateway.config.data_directory)
    assert gateway.server is not None
    async with Client(f"opc.tcp://127.0.0.1:{gateway.server.port}") as client:
        index = await client.get_namespace_index(gateway.config.authority)
        place = client.get_node(ua.NodeId(gateway.place, index))
        children = {node.nodeid.Identifier for node in await place.get_children()}
        assert children >= {own.part(part) for part in PARTS}
