"""`/healthz` and `/metrics` on loopback: Starlette under an uvicorn that leaves the signals to the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave SIGTERM and SIGINT to the gateway."""
        yield


class HttpServer:
    """Serves health and metrics.

    Args:
        host, port: where to listen; port 0 takes a free one, see `port`.
        health: (fit, details); not fit answers 503.
        metrics: the Prometheus page.
    """

    def __init__(
        self,
        host: str,
        port: int,
        health: Callable[[], tuple[bool, Mapping[str, Any]]],
        metrics: Callable[[], str],
    ) -> None:
        self._host, self.port = host, port
        self._health, self._metrics = health, metrics
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            OSError: when the port is taken.
        """
        listener = socket.create_server((self._host, self.port))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        routes = [Route("/healthz", self._healthz), Route("/metrics", self._metrics_page)]
        config = uvicorn.Config(
            Starlette(routes=routes), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")

    async def stop(self) -> None:
        """Stop serving."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    async def _healthz(self, _request: Request) -> JSONResponse:
        fit, details = self._health()
        return JSONResponse({"status": "ok" if fit else "failed", **details}, 200 if fit else 503)

    async def _metrics_page(self, _request: Request) -> PlainTextResponse:
        return PlainTextResponse(self._metrics(), media_type="text/plain; version=0.0.4")
