"""The control socket: how commands of the command line ask the gateway that runs on this machine.

A Unix socket in the data directory, open to the gateway's own user only. One line of JSON asks, `{"do": name, …}`; one
line answers, `{"result": …}` or `{"error": sentence}`; then the connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

FILE = "control.sock"
_REQUEST_OCTETS = 65_536
_REQUEST_S = 5.0
_CONNECTIONS = 8
_ANSWER_S = 120.0
ENDED = "ended before it answered"
"""What is said of a gateway that was reached and is gone."""
LONG_S = 900.0
"""For what may have to wait for its turn, and for a check of large files."""
_PEER = struct.Struct("iII")
"""Linux' `struct ucred`."""

Answer = Any
"""Whatever JSON can carry."""
Handler = Callable[[Mapping[str, Any]], Awaitable[Answer]]
_ASKING: ContextVar[str] = ContextVar("user of the asking process", default="")


class ControlError(Exception):
    """A request is refused or the gateway cannot be reached; the message is a sentence for people."""


def asking_user() -> str:
    """Inside a handler: who asks, as the kernel knows it; our own user where it cannot say."""
    return _ASKING.get() or user_name(os.getuid())


def user_name(number: int) -> str:
    """The name of a user of this machine; its number when it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


class ControlServer:
    """Answers requests on the control socket.

    Args:
        folder: data directory, already made and ours alone.
        handlers: what can be asked, by name; each raises ControlError with a sentence when it refuses.
    """

    def __init__(self, folder: Path, handlers: Mapping[str, Handler]) -> None:
        self._folder = folder
        self._handlers = dict(handlers)
        self._server: asyncio.Server | None = None
        self._open = 0

    def offer(self, handlers: Mapping[str, Handler]) -> None:
        """Answer more requests than those given at first."""
        self._handlers |= handlers

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the socket cannot be made.
        """
        path = self._folder / FILE
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of a gateway that was killed: the directory is locked, so nobody listens there
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _reachable(self._folder) as name:
                listener.bind(name)
            path.chmod(0o600)  # nobody can connect before it listens
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_REQUEST_OCTETS)
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(FileNotFoundError):
                (self._folder / FILE).unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        _ASKING.set(_peer(writer))
        try:
            busy = self._open > _CONNECTIONS
            answer = {"error": "too many requests at once"} if busy else await self._answer(reader)
            async with asyncio.timeout(_ANSWER_S):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, TimeoutError) as error:
            log.debug("control: the asking side is gone: %s", error)
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> dict[str, Answer]:
        try:
            async with asyncio.timeout(_REQUEST_S):
                line = await reader.readline()
            asked = json.loads(line)
            handler = self._handlers[asked["do"]]
        except TimeoutError:
            return {"error": f"nothing was asked within {_REQUEST_S:g} s"}
        except (ValueError, TypeError, KeyError):
            return {"error": f"not understood; known is {', '.join(sorted(self._handlers))}"}
        try:
            return {"result": await handler(asked)}
        except ControlError as error:
            return {"error": str(error)}
        except Exception as error:  # one request must not end the others, nor leave the asking side without answer
            log.exception("control: %s failed", asked["do"])
            return {"error": f"the gateway failed to answer: {type(error).__name__}: {error}"}


def _peer(writer: asyncio.StreamWriter) -> str:
    """The user of the process at the other end; empty where the system does not tell."""
    try:
        told = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    except (AttributeError, OSError):
        return ""
    _process, user, _group = _PEER.unpack(told)
    return user_name(user)


def ask(folder: Path, what: str, *, patience: float = _ANSWER_S, **more: Any) -> Answer:
    """Ask the gateway that works on a data directory; waits for the answer, at most `patience` seconds.

    Raises:
        ControlError: no gateway answers there, or it refuses.
    """
    request = json.dumps({"do": what, **more}).encode() + b"\n"
    if len(request) > _REQUEST_OCTETS:
        text = f"the request has {len(request)} octets, and the gateway takes {_REQUEST_OCTETS}"
        raise ControlError(f"{text}; name fewer files, or the folder that they lie in")
    reached = False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(patience)
            with _reachable(folder) as name:
                asking.connect(name)
            reached = True
            asking.sendall(request)
            with asking.makefile("rb") as file:
                answer = json.loads(file.readline())
    except TimeoutError as error:
        raise ControlError(f"the gateway has not answered within {patience:g} s; what it does goes on") from error
    except PermissionError as error:
        raise ControlError(f"only the user that runs the gateway may ask it: {folder / FILE}") from error
    except (OSError, ValueError) as error:
        if reached:
            raise ControlError(f"the gateway on {folder} {ENDED}; its log says what it still did") from error
        raise ControlError(f"no gateway runs on {folder} ({error})") from error
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer["result"]


@contextlib.contextmanager
def _reachable(folder: Path) -> Iterator[str]:
    """A name of the socket that is short enough for the system (107 octets) however deep the folder lies."""
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{FILE}"
    finally:
        os.close(directory)
