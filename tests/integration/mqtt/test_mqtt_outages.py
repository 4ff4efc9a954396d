"""Brokers that die, stall, are not there, refuse us; and a gateway that dies."""

import asyncio
import contextlib
import datetime
import logging
import signal
import sys
import textwrap

import numpy as np
import psutil
import pytest
from integration.mqtt.brokers import (
    GATEWAY,
    expected,
    mirrored,
    mosquitto,
    program,
    quick_settings,
    settled,
    subscribed,
    table_of_bays,
)
from peers.ports import free_port
from peers.waiting import until

from address_space import clock
from address_space.events import Event, EventJournal
from address_space.point import Batch

POWER = 1


def powers(table):
    return [row for row in range(len(table)) if row % 5 == POWER]


def change(table, number):
    rows = powers(table)
    table.ingest(Batch.of(rows, [float(number + row) for row in rows], 0, clock.now()))


async def traffic(table, events, numbers):
    for number in numbers:
        change(table, number)
        events.append(Event("S06", str(number)))
        await asyncio.sleep(0.01)


async def test_after_kill_9_of_the_broker_retained_state_is_complete_and_events_are_there(make_broker):
    broker = make_broker()
    broker.start()
    table, events = table_of_bays(20), EventJournal()
    async with mirrored(
        table, quick_settings(broker.port), events=events, link_states=lambda: {"link0": "up"}
    ) as mirror:
        await until(lambda: settled(mirror))
        running = asyncio.create_task(traffic(table, events, range(200)))
        await asyncio.sleep(0.5)
        broker.kill()
        first_lost = mirror.counters.acknowledged
        await until(lambda: not mirror.counters.connected)
        await running
        assert first_lost > 0
        await until(lambda: mirror.counters.events == 200)
        broker.start()
        async with subscribed(broker.port) as subscriber:
            await until(lambda: settled(mirror))
            await until(lambda: subscriber.of("v") == expected(table) and len(subscriber.of("m")) == len(table))
            assert subscriber.of("s")[GATEWAY]["state"] == "online"
            assert subscriber.of("s")[f"{GATEWAY}/_/_/link0"]["state"] == "up"
        assert mirror.counters.events_dropped == 0
        assert mirror.counters.connects == 2


async def test_events_of_an_outage_arrive_afterwards_none_missing(make_broker):
    broker = make_broker()
    broker.start()
    table, events = table_of_bays(1), EventJournal()
    # A lasting session of the subscriber would end with the broker; so the broker only stops answering.
    async with subscribed(broker.port, topic="twin/e/#") as subscriber:
        settings = quick_settings(broker.port, ack_timeout=0.6, connect_timeout=0.5)
        async with mirrored(table, settings, events=events) as mirror:
            await until(lambda: settled(mirror))
            for number in range(10):
                events.append(Event("S06", f"before {number}"))
            await until(lambda: len(subscriber.all) == 10)
            broker.signal(signal.SIGSTOP)
            for number in range(100):
                events.append(Event("S06", f"during {number}"))
            await until(lambda: mirror.counters.disconnects == 1)
            assert mirror.counters.events_waiting >= 100
            broker.signal(signal.SIGCONT)
            await until(lambda: settled(mirror))

            def texts():
                return list(dict.fromkeys(content["text"] for _, _, content in subscriber.all))

            await until(lambda: len([text for text in texts() if text.startswith("during")]) == 100)
            during = [text for text in texts() if text.startswith("during")]
            assert during == [f"during {number}" for number in range(100)]


async def test_a_stalled_broker_costs_no_memory_and_gets_the_newest_state_when_it_wakes(broker):
    table, events = table_of_bays(400), EventJournal()
    settings = quick_settings(broker.port, max_events=500, ack_timeout=60, modes={"points", "grouped"})
    async with mirrored(table, settings, events=events) as mirror:
        await until(lambda: settled(mirror))
        broker.signal(signal.SIGSTOP)
        for number in range(20):
            change(table, number)
            await asyncio.sleep(0.005)
        before, coalesced = psutil.Process().memory_info().rss, mirror.counters.coalesced
        for number in range(300):
            change(table, number)
            for _ in range(10):
                events.append(Event("S06", "x" * 1000))
            await asyncio.sleep(0.003)
        counters = mirror.counters
        assert counters.in_flight <= settings.window
        assert counters.waiting <= len(table) + 400
        assert counters.coalesced - coalesced > 10_000
        assert counters.events_waiting == 500
        assert counters.events > 2500
        assert counters.events_dropped == counters.events - 500
        # The event journal itself keeps nothing that the mirror has taken in.
        assert psutil.Process().memory_info().rss - before < 24 << 20
        broker.signal(signal.SIGCONT)
        async with subscribed(broker.port) as subscriber:
            await until(lambda: settled(mirror))
            await until(lambda: subscriber.of("v") == expected(table))
        assert mirror.counters.disconnects == 0


async def test_a_broker_that_acknowledges_nothing_is_given_up(broker):
    table = table_of_bays(10)
    settings = quick_settings(broker.port, ack_timeout=0.5, connect_timeout=0.5)
    async with mirrored(table, settings) as mirror:
        await until(lambda: settled(mirror))
        broker.signal(signal.SIGSTOP)
        change(table, 5)
        await until(lambda: mirror.counters.disconnects == 1)
        assert "nothing acknowledged" in mirror.counters.last_error
        await until(lambda: mirror.counters.failures >= 1)
        assert "does not answer" in mirror.counters.last_error or "no connection" in mirror.counters.last_error
        broker.signal(signal.SIGCONT)
        await until(lambda: settled(mirror))


async def test_the_will_is_published_when_the_gateway_is_killed(broker):
    script = textwrap.dedent(
        f"""
        import asyncio
        from integration.mqtt.brokers import mirrored, quick_settings, table_of_bays

        async def main():
            async with mirrored(table_of_bays(1), quick_settings({broker.port})):
                await asyncio.sleep(60)

        asyncio.run(main())
        """
    )
    async with subscribed(broker.port, topic="twin/s/#") as subscriber:
        path = [entry for entry in sys.path if entry]
        gateway = await asyncio.create_subprocess_exec(
            sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{script}"
        )
        try:
            await until(lambda: subscriber.of("s").get(GATEWAY, {}).get("state") == "online", 20)
            gateway.send_signal(signal.SIGKILL)
            await until(lambda: subscriber.of("s")[GATEWAY]["state"] == "offline")
        finally:
            with contextlib.suppress(ProcessLookupError):
                gateway.kill()
            await gateway.wait()
    async with subscribed(broker.port, topic="twin/s/#") as later:
        await until(lambda: later.of("s").get(GATEWAY, {}).get("state") == "offline")
        assert later.all[0][1], "the Will is retained"


async def test_without_a_broker_at_the_start_it_connects_when_there_is_one(make_broker, caplog):
    broker, table, events = make_broker(), table_of_bays(), EventJournal()
    cursor = events.cursor("test")
    caplog.set_level(logging.INFO)
    async with mirrored(table, quick_settings(broker.port), events=events) as mirror:
        await until(lambda: mirror.counters.failures >= 3)
        change(table, 7)
        broker.start()
        await until(lambda: settled(mirror))
        async with subscribed(broker.port) as subscriber:
            await until(lambda: subscriber.of("v") == expected(table))
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, "the same failure is told once"
    assert cursor.take() == [], "that the broker is away is a condition of the gateway, not an event of the mirror"


async def test_a_wrong_password_is_told_once_and_tried_again_slowly(make_broker, tmp_path, caplog):
    users = tmp_path / "users"
    passwd = await asyncio.create_subprocess_exec(program("mosquitto_passwd"), "-c", "-b", str(users), "gw", "right")
    assert await passwd.wait() == 0
    broker = make_broker(mosquitto(f"allow_anonymous false\npassword_file {users}"))
    broker.start()
    secret = tmp_path / "secret"
    secret.write_text("wrong-one\n")
    caplog.set_level(logging.DEBUG)
    settings = quick_settings(broker.port, user="gw", password=f"file:{secret}", refused_delay=0.6)
    async with mirrored(table_of_bays(), settings) as mirror:
        await asyncio.sleep(1.5)
        assert 2 <= mirror.counters.failures <= 4
        messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(messages) == 1
        assert "user 'gw'" in messages[0]
        assert "refuses" in messages[0]
        assert "wrong-one" not in caplog.text
        secret.write_text("right\n")
        await until(lambda: settled(mirror))


async def test_a_secret_that_is_not_there_is_a_failure_like_any_other(broker, monkeypatch):
    monkeypatch.delenv("MQTT_TEST_ABSENT", raising=False)
    settings = quick_settings(broker.port, user="gw", password="${MQTT_TEST_ABSENT}")
    async with mirrored(table_of_bays(1), settings) as mirror:
        await until(lambda: mirror.counters.failures >= 1)
        assert "MQTT_TEST_ABSENT is not set" in mirror.counters.last_error
        monkeypatch.setenv("MQTT_TEST_ABSENT", "x")
        await until(lambda: settled(mirror))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 50,
        b"\x20\x06\x00\x00\x03\x7f\x00\x00",  # a property that does not exist
        b"\x20\x03\x00\x55\x00",  # a reason code that does not exist
        b"\x20\x00",
        b"\xf0\x02\x00\x00",
    ],
)
async def test_a_peer_that_is_no_broker_is_survived(answer):
    async def nonsense(reader, writer):
        with contextlib.suppress(OSError):
            await reader.read(100)
            writer.write(answer)
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with mirrored(table_of_bays(1), quick_settings(port, connect_timeout=0.5)) as mirror:
        await until(lambda: mirror.counters.failures >= 2)
        assert not mirror.counters.connected
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "poison", [b"\x30\xff\xff\xff\x7f" + b"x" * 1000, b"\x40\x80\x80\x80\x80", b"\x40\x02\x7f\xff" * 300, b"\x00" * 50]
)
async def test_a_broker_gone_mad_costs_a_connection_at_most(poison):
    talked = 0

    async def mad(reader, writer):
        nonlocal talked
        with contextlib.suppress(OSError):
            await reader.read(1000)
            writer.write(b"\x20\x03\x00\x00\x00")
            await reader.read(1000)
            writer.write(poison)
            await writer.drain()
            talked += 1
            await reader.read()
            writer.close()

    server = await asyncio.start_server(mad, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = quick_settings(port, ack_timeout=0.5, connect_timeout=0.5)
    async with mirrored(table_of_bays(10), settings) as mirror:
        await until(lambda: mirror.counters.disconnects >= 1 and talked >= 1)
        assert mirror.counters.acknowledged <= settings.window
        assert mirror.counters.connects >= 1
    server.close()
    await server.wait_closed()


async def test_a_host_that_does_not_exist_is_a_failure():
    async with mirrored(table_of_bays(1), quick_settings(free_port(), host="host.invalid")) as mirror:
        await until(lambda: mirror.counters.failures >= 1, 20)


def authority(directory):
    """A certificate authority and a server certificate for 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)

    def certificate(name, key, issuer, issuer_key, extension):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(hours=1)).add_extension(extension, critical=False)
        if name == issuer:
            builder = builder.add_extension(
                x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True
            )
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        return builder.sign(issuer_key, hashes.SHA256())

    import ipaddress

    root_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test root")])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    root = certificate(root_name, root_key, root_name, root_key, x509.BasicConstraints(True, None))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = certificate(server_name, server_key, root_name, root_key, alternative)
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(root.public_bytes(pem))
    (directory / "server.pem").write_bytes(server.public_bytes(pem))
    (directory / "server.key").write_bytes(
        server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


async def test_over_tls_the_same_arrives_and_an_unknown_authority_is_refused(make_broker, tmp_path):
    authority(tmp_path)
    broker = make_broker(mosquitto(tls=f"certfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key"))
    broker.start()
    table = table_of_bays(20)
    async with mirrored(table, quick_settings(broker.port, tls={"ca": tmp_path / "ca.pem"})) as mirror:
        for number in range(20):
            change(table, number)
            await asyncio.sleep(0.02)
        await until(lambda: settled(mirror))
        async with subscribed(broker.port, "--cafile", str(tmp_path / "ca.pem")) as subscriber:
            await until(lambda: subscriber.of("v") == expected(table))
            change(table, 99)
            await until(lambda: subscriber.of("v") == expected(table))
    async with mirrored(table, quick_settings(broker.port, tls={})) as mirror:
        await until(lambda: mirror.counters.failures >= 1)
        assert "certificate verify failed" in mirror.counters.last_error


async def test_topics_of_points_that_are_removed_while_the_broker_is_away_are_cleared_when_it_is_back(broker):
    table = table_of_bays(4)
    settings = quick_settings(broker.port, ack_timeout=0.5, connect_timeout=0.5, modes={"points", "grouped"})
    async with mirrored(table, settings) as mirror:
        await until(lambda: settled(mirror))
        async with subscribed(broker.port) as subscriber:
            await until(lambda: len(subscriber.of("v")) == len(table))
            await until(lambda: any("F00" in place for place in subscriber.of("g")))
            await until(lambda: any("F00" in address for address in subscriber.of("m")))
        broker.signal(signal.SIGSTOP)
        change(table, 5)
        await until(lambda: mirror.counters.disconnects == 1)
        table.retire(np.arange(5, dtype=np.int32))  # all of the first bay
        await until(lambda: mirror.counters.failures >= 1)
        broker.signal(signal.SIGCONT)
        await until(lambda: settled(mirror))
        async with subscribed(broker.port) as subscriber:
            await until(lambda: len(subscriber.of("v")) == len(table) - 5)
            await until(lambda: subscriber.of("g") and subscriber.of("m"))
            await asyncio.sleep(0.2)
            for kind in "vgm":
                assert not [topic for topic in subscriber.of(kind) if "F00" in topic]
