"""The control socket: who may ask, what is answered, and that one bad request harms nobody."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from peers.waiting import patient

from twin_gateway.control import FILE, ControlError, ControlServer, ask, asking_user, user_name


async def _echo(asked: Mapping[str, Any]) -> Any:
    return asked.get("text")


async def _who(_asked: Mapping[str, Any]) -> Any:
    return asking_user()


async def _sleep(_asked: Mapping[str, Any]) -> Any:
    await asyncio.sleep(1)


async def _refuse(_asked: Mapping[str, Any]) -> Any:
    raise ControlError("not today")


async def _fail(_asked: Mapping[str, Any]) -> Any:
    raise ZeroDivisionError("by nought")


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """A data directory deeper than a socket's name may be long, with a server on it."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    server = ControlServer(deep, {"echo": _echo, "who": _who, "sleep": _sleep, "refuse": _refuse, "fail": _fail})
    await server.start()
    yield deep
    await server.stop()
    assert not (deep / FILE).exists()


async def asked(folder: Path, what: str, **more: Any) -> Any:
    async with patient(10):
        return await asyncio.to_thread(ask, folder, what, **more)


async def test_what_is_asked_is_answered(folder: Path) -> None:
    assert await asked(folder, "echo", text="Prüfung") == "Prüfung"


async def test_the_user_that_asks_is_known(folder: Path) -> None:
    assert await asked(folder, "who") == user_name(os.getuid())


async def test_an_answer_that_takes_too_long_is_told_as_that(folder: Path) -> None:
    with pytest.raises(ControlError, match=r"not answered within 0.1 s; what it does goes on"):
        await asked(folder, "sleep", patience=0.1)


async def test_only_the_gateways_own_user_may_ask(folder: Path) -> None:
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("refuse", "^not today$"),
        ("fail", "the gateway failed to answer: ZeroDivisionError: by nought"),
        ("dance", "not understood; known is echo, fail, refuse, sleep, who"),
    ],
)
async def test_a_refusal_and_a_fault_are_sentences_and_the_next_request_is_answered(
    folder: Path, what: str, sentence: str
) -> None:
    with pytest.raises(ControlError, match=sentence):
        await asked(folder, what)
    assert await asked(folder, "echo", text=7) == 7


@pytest.mark.parametrize("octets", [b"\n", b"[]\n", b"{\n", b'{"do": []}\n', b"x" * 200_000 + b"\n"])
async def test_what_is_no_request_is_refused(folder: Path, octets: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # the name is too long for the system otherwise
    reader, writer = await asyncio.open_unix_connection(FILE)
    async with patient(10):
        writer.write(octets)
        answer = json.loads(await reader.readline())
        writer.close()
    assert answer["error"].startswith("not understood")
    assert await asked(folder, "echo", text="still here") == "still here"


async def test_a_request_that_is_too_long_is_not_sent_and_told_as_that(folder: Path) -> None:
    files = [f"/srv/mappings/station-{number:04}.yaml" for number in range(2000)]
    with pytest.raises(ControlError, match=r"takes 65536; name fewer files, or the folder that they lie in"):
        await asked(folder, "echo", text=files)
    assert await asked(folder, "echo", text=files[:1000]) == files[:1000]


async def test_a_folder_without_a_gateway_says_so(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no gateway runs on"):
        ask(tmp_path, "echo")
    with pytest.raises(ControlError, match="no gateway runs on"):
        ask(tmp_path / "nowhere", "echo")


async def test_a_gateway_that_ends_before_it_answers_is_told_from_none(tmp_path: Path) -> None:
    async def end(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_unix_server(end, str(tmp_path / FILE))
    with pytest.raises(ControlError, match="ended before it answered"):
        await asked(tmp_path, "echo", text=1)
    server.close()


async def test_the_socket_of_a_gateway_that_was_killed_is_replaced(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / FILE))
    left.close()
    server = ControlServer(tmp_path, {"echo": _echo})
    await server.start()
    assert await asked(tmp_path, "echo", text=1) == 1
    await server.stop()
