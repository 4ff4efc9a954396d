"""/healthz and /metrics over a real socket, and the text format of Prometheus."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from peers.waiting import patient

from twin_gateway.http import HttpServer
from twin_gateway.metrics import counter, gauge, labelled, render


class Source:
    """What the pages are made of."""

    def __init__(self) -> None:
        self.fit = True

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        return self.fit, {"points": 3}


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def server(source: Source) -> AsyncIterator[HttpServer]:
    made = HttpServer("127.0.0.1", 0, source.health, lambda: render([gauge("up", "Whether.", 1)]))
    await made.start()
    yield made
    await made.stop()


async def get(server: HttpServer, path: str) -> tuple[int, str, str]:
    """Status, content type and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    async with patient(5):
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    kind = next(line for line in head.lower().splitlines() if line.startswith("content-type:"))
    return int(head.split()[1]), kind, body


async def test_a_fit_gateway_answers_200(server: HttpServer) -> None:
    status, _kind, body = await get(server, "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ok", "points": 3})


async def test_an_unfit_gateway_answers_503(server: HttpServer, source: Source) -> None:
    source.fit = False
    status, _kind, body = await get(server, "/healthz")
    assert (status, json.loads(body)["status"]) == (503, "failed")


async def test_metrics_are_in_the_text_format(server: HttpServer) -> None:
    status, kind, body = await get(server, "/metrics")
    assert status == 200
    assert "text/plain; version=0.0.4" in kind
    assert body == "# HELP up Whether.\n# TYPE up gauge\nup 1\n"


async def test_there_is_nothing_else(server: HttpServer) -> None:
    assert (await get(server, "/"))[0] == 404


async def test_a_taken_port_is_told(server: HttpServer, source: Source) -> None:
    second = HttpServer("127.0.0.1", server.port, source.health, str)
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.stop()


async def test_nobody_listens_after_the_end(source: Source) -> None:
    server = HttpServer("127.0.0.1", 0, source.health, str)
    await server.start()
    await server.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_labels_are_escaped_and_whole_numbers_have_no_point() -> None:
    page = render(
        [
            labelled("a", "gauge", "A.", [({"link": 'x"\\\n'}, 1.5), ({"link": "y", "what": "z"}, 2.0)]),
            counter("b_total", "B.", 1e15),
        ]
    )
    assert page.splitlines() == [
        "# HELP a A.",
        "# TYPE a gauge",
        'a{link="x\\"\\\\\\n"} 1.5',
        'a{link="y",what="z"} 2',
        "# HELP b_total B.",
        "# TYPE b_total counter",
        "b_total 1000000000000000",
    ]


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "NaN"), (float("inf"), "+Inf"), (float("-inf"), "-Inf")])
def test_numbers_that_are_none_are_written_as_prometheus_reads_them(value: float, text: str) -> None:
    assert render([gauge("a", "A.", value)]).splitlines()[-1] == f"a {text}"
