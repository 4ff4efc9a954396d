"""OSCORE sequence numbers: none is used twice with a key, whatever happens, and nobody waits for the disk."""

import asyncio
import json
import threading
from pathlib import Path

import aiocoap
import pytest
from aiocoap.message import Direction

from twin_gateway.drivers.coap import oscore as subject
from twin_gateway.drivers.coap.config import OscoreConfig
from twin_gateway.drivers.coap.oscore import RESERVED, OscoreError, SecurityContext


def context(folder: Path, secret: str = "0102030405060708090a0b0c0d0e0f10") -> SecurityContext:
    return SecurityContext(OscoreConfig(sender_id="", recipient_id="01", secret=secret), folder)


def request() -> aiocoap.Message:
    message = aiocoap.Message(code=aiocoap.GET, uri="coap://x/t")
    message.direction = Direction.OUTGOING
    return message


def test_no_number_is_used_before_a_higher_one_is_on_the_disk(tmp_path: Path) -> None:
    keys = context(tmp_path)
    keys.protected(request())
    (file,) = tmp_path.glob("oscore-*.json")
    assert json.loads(file.read_text())["next"] == 1 + RESERVED
    del keys  # as in a crash
    again = context(tmp_path)
    assert again.sender_sequence_number == 1 + RESERVED


def test_damaged_numbers_stop_the_context_instead_of_starting_from_zero(tmp_path: Path) -> None:
    context(tmp_path).protected(request())
    (file,) = tmp_path.glob("oscore-*.json")
    for damaged in ("", "{}", '{"next": -1}', '{"next": "7"}'):
        file.write_text(damaged)
        with pytest.raises(OscoreError, match="agree on a new OSCORE secret"):
            context(tmp_path)


def test_another_secret_has_numbers_of_its_own(tmp_path: Path) -> None:
    context(tmp_path).protected(request())
    other = SecurityContext(OscoreConfig(sender_id="", recipient_id="01", secret="ff" * 16), tmp_path)
    assert other.sender_sequence_number == 0


async def test_numbers_are_written_ahead_of_their_use_and_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers: list[int] = []
    write = subject.write_whole

    def noted(path: Path, data: bytes) -> None:
        writers.append(threading.get_ident())
        write(path, data)

    monkeypatch.setattr(subject, "write_whole", noted)
    keys = context(tmp_path)
    await asyncio.to_thread(keys.reserve)
    (file,) = tmp_path.glob("oscore-*.json")
    used = set()
    for number in range(3 * RESERVED):
        used.add(keys.new_sequence_number())
        if not number % 100:
            await asyncio.sleep(0.001)
            assert json.loads(file.read_text())["next"] > number
    await asyncio.to_thread(keys.close)
    assert len(used) == 3 * RESERVED
    assert 4 <= len(writers) <= 6
    assert threading.get_ident() not in writers
    assert json.loads(file.read_text())["next"] == 3 * RESERVED


def test_a_disk_that_is_full_costs_requests_and_no_number_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = context(tmp_path)

    def full(_path: Path, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(subject, "write_whole", full)
        for _ in range(3):
            with pytest.raises(OscoreError, match="No space left"):
                keys.protected(request())
    outer, _ = keys.protected(request())
    assert outer.opt.oscore is not None


def test_two_devices_cannot_use_one_context_at_a_time(tmp_path: Path) -> None:
    first = context(tmp_path / "a")
    with pytest.raises(OscoreError, match="another device section has the same secret"):
        context(tmp_path / "b")
    first.close()
    context(tmp_path / "b").close()


def test_a_device_that_was_given_another_name_goes_on_where_it_was(tmp_path: Path) -> None:
    keys = context(tmp_path / "links" / "old")
    keys.protected(request())
    keys.close()
    again = context(tmp_path / "links" / "new")
    assert again.sender_sequence_number == 1
    again.close()
