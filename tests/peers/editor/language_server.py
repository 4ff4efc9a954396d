"""The YAML language server of editors, over its standard input and output: completion, hover text, diagnostics."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

from peers.opcua.install import node_with
from peers.waiting import patient

FOLDER = Path(__file__).parent
SERVER = FOLDER / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"


class LanguageServer:
    """One server process; use it as an asynchronous context."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._diagnostics: dict[str, asyncio.Future[list[dict[str, Any]]]] = {}

    async def __aenter__(self) -> LanguageServer:
        node = await asyncio.to_thread(node_with, FOLDER, "yaml-language-server")
        self._process = await asyncio.create_subprocess_exec(
            node, str(SERVER), "--stdio", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self._reading = asyncio.create_task(self._read())
        await self.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        self._tell("initialized", {})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.ask("shutdown", None)
        self._tell("exit", None)
        async with patient(5):
            await self._process.wait()
            await self._reading

    async def open(self, path: Path, text: str | None = None) -> list[dict[str, Any]]:
        """Open a file (with another text than it has, if given): the diagnostics of it."""
        uri = path.as_uri()
        told = self._diagnostics[uri] = asyncio.get_running_loop().create_future()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text or path.read_text("utf-8")}
        self._tell("textDocument/didOpen", {"textDocument": document})
        async with patient(10):
            found: list[dict[str, Any]] = await told
            return found

    async def complete(self, path: Path, line: int, column: int) -> set[str]:
        """The words offered at a place of an open file; line and column count from 0."""
        found = await self.ask("textDocument/completion", _at(path, line, column))
        items = found["items"] if isinstance(found, dict) else found
        return {item["label"] for item in items}

    async def hover(self, path: Path, line: int, column: int) -> str:
        """The text shown over a place of an open file."""
        found = await self.ask("textDocument/hover", _at(path, line, column))
        return str(found["contents"]["value"]) if found else ""

    async def ask(self, method: str, parameters: Any) -> Any:
        """A request and its answer."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._send({"id": number, "method": method, "params": parameters})
        async with patient(10):
            return await answer

    def _tell(self, method: str, parameters: Any) -> None:
        self._send({"method": method, "params": parameters})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while head := await stream.readline():
            if not head.lower().startswith(b"content-length:"):
                continue
            while (await stream.readline()).strip():
                pass
            self._take(json.loads(await stream.readexactly(int(head.split(b":")[1]))))

    def _take(self, message: dict[str, Any]) -> None:
        method, number = message.get("method"), message.get("id")
        if method is None and number in self._answers:
            answer = self._answers.pop(number)
            if "error" in message:
                answer.set_exception(RuntimeError(str(message["error"])))
            else:
                answer.set_result(message.get("result"))
        elif method == "workspace/configuration":
            settings = {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}
            asked = message["params"]["items"]
            self._send({"id": number, "result": [settings if i.get("section") == "yaml" else None for i in asked]})
        elif method is not None and number is not None:
            self._send({"id": number, "result": None})
        elif method == "textDocument/publishDiagnostics":
            told = self._diagnostics.get(message["params"]["uri"])
            if told is not None and not told.done():
                told.set_result(message["params"]["diagnostics"])


def _at(path: Path, line: int, column: int) -> dict[str, Any]:
    return {"textDocument": {"uri": path.as_uri()}, "position": {"line": line, "character": column}}
