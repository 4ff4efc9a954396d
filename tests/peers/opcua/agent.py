"""The generic node-opcua client in a process of its own: any request as JSON, any answer as JSON, faults as data."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

from peers.opcua.install import PEER, node_opcua
from peers.waiting import patient


class RefusedError(ConnectionError):
    """The client could not do what it was told; `status` is the name of the StatusCode, empty where there is none."""

    def __init__(self, words: str, status: str) -> None:
        super().__init__(words)
        self.status = status


class Peer:
    """One connection of the agent, with a session unless it was made without one."""

    def __init__(self, agent: Agent, name: str, session_id: str | None) -> None:
        self._agent, self._name = agent, name
        self.session_id = session_id

    async def request(self, request: str, **fields: Any) -> dict[str, Any]:
        """Send a request by its class name (`ReadRequest`); its response, or {"fault": name} for a ServiceFault.

        Field names are node-opcua's (camelCase); a trailing underscore of a name is dropped.
        """
        clean = {name.rstrip("_"): value for name, value in fields.items()}
        answer = await self._agent.tell("request", **{"as": self._name, "request": request, "fields": clean})
        assert isinstance(answer, dict)
        return answer

    async def alarm(self, method: str, condition: str, event: str, comment: str) -> str:
        """StatusCode of one of the client's own functions for alarms (`acknowledgeCondition`, …); EventId in hex."""
        order = {"as": self._name, "method": method, "condition": condition, "event": event, "comment": comment}
        return str((await self._agent.tell("alarm", **order))["status"])

    async def disconnect(self, *, keep: bool = False) -> None:
        """Close session and connection; `keep` leaves the subscriptions to their lifetime."""
        await self._agent.tell("disconnect", **{"as": self._name, "keep": keep})

    async def drop(self) -> None:
        """End the connection and leave the session alone."""
        await self._agent.tell("drop", **{"as": self._name})


class Agent:
    """Many connections side by side in one node process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start node; skips the test where it cannot be had."""
        self._process = await asyncio.create_subprocess_exec(
            node_opcua(),
            str(PEER / "agent.js"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 26,
        )
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        """End the process."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._task is not None
        self._process.stdin.close()
        async with patient(10):
            await self._process.wait()
            await self._task

    async def connect(self, url: str, **order: Any) -> Peer:
        """A new connection.

        Args:
            url: EndpointUrl.
            order: `security` (policy name) and `mode`, `user` and `password`, `certificate` and `key` (files of an
                X.509 user), `application` {certificate, key, uri} of the client itself, `session=False` for none,
                `timeout` of the session in ms.

        Raises:
            RefusedError: when the server refuses.
        """
        name = f"c{next(self._numbers)}"
        made = await self.tell(
            "connect", **{"url": url, "as": name, "pki": str(self._directory / "agent-pki"), **order}
        )
        return Peer(self, name, made["session"])

    async def tell(self, what: str, **order: Any) -> Any:
        """One line to the agent and its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "do": what, **order}).encode() + b"\n")
        async with patient(15):
            return await future

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            future = self._waiting.pop(answer["id"])
            if future.done():
                continue
            if "error" in answer:
                future.set_exception(RefusedError(answer["error"], answer["status"] or ""))
            else:
                future.set_result(answer["result"])
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(RuntimeError("the node client has ended"))
