"""The listener of the resource directory: one UDP socket, requests bounded in size, number and rate."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiocoap
from aiocoap.numbers import OptionNumber
from aiocoap.numbers.codes import Code

from .directory import DIRECTORY, MAX_LINKS_OCTETS, Directory, Endpoint, RefusedError
from .directory_settings import DirectorySettings

CONTENT_LINKS = 40
_ANSWERS_KEPT, _ANSWERS_KEPT_S = 2_000, 247.0  # RFC 7252 4.8.2: EXCHANGE_LIFETIME
_SOURCES_KEPT = 2_000
_TRANSFERS, _TRANSFERS_OF_ONE = 64, 4
_TRANSFER_S = 60.0
_BLOCK = 1024
_SWEEP_S = 1.0
_LONGEST_TOKEN = 8
_UNDERSTOOD = frozenset(
    {
        OptionNumber.URI_HOST, OptionNumber.URI_PORT, OptionNumber.URI_PATH, OptionNumber.URI_QUERY,
        OptionNumber.ACCEPT, OptionNumber.BLOCK1, OptionNumber.BLOCK2, OptionNumber.CONTENT_FORMAT,
        OptionNumber.SIZE1, OptionNumber.SIZE2, OptionNumber.OBSERVE, OptionNumber.ETAG,
    }
)  # fmt: skip
_CORE = (
    b'</rd>;rt="core.rd";ct=40,</rd-lookup/ep>;rt="core.rd-lookup-ep";ct=40,'
    b'</rd-lookup/res>;rt="core.rd-lookup-res";ct=40'
)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Transfer:
    """Links that arrive in blocks."""

    body: bytearray
    began: float


class DirectoryListener(asyncio.DatagramProtocol):
    """Serves `/rd`, `/rd-lookup/ep`, `/rd-lookup/res` and `/.well-known/core`.

    Lookups are answered to this machine only: they tell much and ask little, which is what a flood with a false
    sender's address wants.

    Attributes:
        counters: requests, refused, limited (over the rate), malformed.
    """

    def __init__(self, settings: DirectorySettings, directory: Directory = DIRECTORY) -> None:
        self._settings = settings
        self._directory = directory
        self._transport: asyncio.DatagramTransport | None = None
        self._answers: OrderedDict[tuple[Endpoint, int, int], tuple[float, bytes]] = OrderedDict()
        self._budget: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._transfers: OrderedDict[tuple[Endpoint, str], _Transfer] = OrderedDict()
        self._message_id = 0
        self._sweeper: asyncio.Task[None] | None = None
        self.counters = {"requests": 0, "refused": 0, "limited": 0, "malformed": 0}

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken, or the address is none of this machine.
        """
        loop = asyncio.get_running_loop()
        family, kind, protocol, _, address = (
            await loop.getaddrinfo(self._settings.host, self._settings.port, type=socket.SOCK_DGRAM)
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            # Devices that registered get a connected socket of their own on the same port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            await loop.create_datagram_endpoint(lambda: self, sock=sock)
        except BaseException:
            sock.close()
            raise
        self._directory.most = self._settings.max_endpoints
        self._directory.most_of_one = self._settings.max_endpoints_per_address
        self._directory.listening = sock.getsockname()[:2]
        self._directory.handle = self.handle
        self._sweeper = asyncio.create_task(self._sweep(), name="resource directory")

    async def stop(self) -> None:
        """Close the socket; registrations are kept until their lifetime ends."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
        self._directory.listening = None
        self._directory.handle = None

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._directory.expire()
            now = time.monotonic()
            for key in [key for key, each in self._transfers.items() if each.began < now - _TRANSFER_S]:
                del self._transfers[key]
            while self._answers and next(iter(self._answers.values()))[0] < now - _ANSWERS_KEPT_S:
                self._answers.popitem(last=False)

    def connection_made(self, transport: Any) -> None:
        """The socket is open."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        """One datagram."""
        transport = self._transport
        if transport is not None:
            self.handle(data, address[:2], lambda answer: transport.sendto(answer, address))

    def error_received(self, error: Exception) -> None:
        """A device is not there any more; its lifetime will tell."""
        _log.debug("resource directory: %s", error)

    def handle(self, datagram: bytes, source: Endpoint, answer: Callable[[bytes], None]) -> None:
        """Carry out the request in a datagram; never raises for what is in it."""
        if not self._allowed(source[0]):
            self.counters["limited"] += 1
            return
        try:
            request = aiocoap.Message.decode(datagram)
            if datagram[0] & 0x0F > _LONGEST_TOKEN:
                raise ValueError("a token that is too long")
            if not request.code.is_request() or request.mtype not in (aiocoap.CON, aiocoap.NON):
                return
        except Exception:  # the decoder raises whatever the damage leads to; one datagram must cost one count
            self.counters["malformed"] += 1
            return
        self.counters["requests"] += 1
        # The same octets once more: a device that was restarted begins with the same number and another request.
        key, now = (source, request.mid, hash(datagram)), time.monotonic()
        at, known = self._answers.get(key, (0.0, b""))
        if not known or at < now - _ANSWERS_KEPT_S:
            self._answers.pop(key, None)
            known = self._answered(request, source)
            self._answers[key] = now, known
            if len(self._answers) > _ANSWERS_KEPT:
                self._answers.popitem(last=False)
        answer(known)

    def _allowed(self, host: str) -> bool:
        """Whether this source may ask once more now: so many requests a second, and as many at once."""
        now, rate = time.monotonic(), float(self._settings.rate)
        left, at = self._budget.pop(host, (rate, now))
        left = min(left + (now - at) * rate, rate)
        self._budget[host] = (max(left - 1.0, 0.0), now)
        if len(self._budget) > _SOURCES_KEPT:
            self._budget.popitem(last=False)
        return left >= 1.0

    def _answered(self, request: aiocoap.Message, source: Endpoint) -> bytes:
        try:
            response = self._response(request, source)
        except RefusedError as error:
            self.counters["refused"] += 1
            code = error.code
            response = aiocoap.Message(code=Code(code // 100 << 5 | code % 100), payload=str(error).encode())
            if code == 413:
                response.opt.size1 = MAX_LINKS_OCTETS
        response.token = request.token
        if request.mtype is aiocoap.CON:
            response.mtype, response.mid = aiocoap.ACK, request.mid
        else:
            self._message_id = self._message_id + 1 & 0xFFFF
            response.mtype, response.mid = aiocoap.NON, self._message_id
        return bytes(response.encode())

    def _response(self, request: aiocoap.Message, source: Endpoint) -> aiocoap.Message:
        for option in request.opt.option_list():
            if option.number.is_critical() and option.number not in _UNDERSTOOD:
                raise RefusedError(f"option {int(option.number)} is not known", 402)
        path = tuple(request.opt.uri_path)
        query = dict(part.partition("=")[::2] for part in request.opt.uri_query)
        if request.code == aiocoap.GET:
            return self._looked_up(request, path, query, source)
        if not path or path[0] != "rd" or len(path) > 2:
            raise RefusedError("nothing is here; endpoints register at /rd", 404)
        if request.code == aiocoap.DELETE and len(path) == 2:
            self._directory.remove(path[1], source)
            return aiocoap.Message(code=aiocoap.DELETED)
        if request.code not in (aiocoap.POST, aiocoap.PUT) or (len(path) == 1 and request.code != aiocoap.POST):
            raise RefusedError("only registrations, their updates and removals", 405)
        form = request.opt.content_format
        if request.payload and form is not None and int(form) != CONTENT_LINKS:
            raise RefusedError("links are in link format (40)", 415)
        body = self._collected(request, source)
        if body is None:
            return aiocoap.Message(code=aiocoap.CONTINUE, block1=request.opt.block1)
        if len(path) == 2:
            self._directory.update(path[1], query, body, source)
            response = aiocoap.Message(code=aiocoap.CHANGED)
        else:
            made = self._directory.register(query, body, source)
            response = aiocoap.Message(code=aiocoap.CREATED, location_path=("rd", made.location))
        if request.opt.block1 is not None:
            response.opt.block1 = request.opt.block1
        return response

    def _collected(self, request: aiocoap.Message, source: Endpoint) -> bytes | None:
        """The whole body of a request; None while blocks are missing (RFC 7959 2.5)."""
        block = request.opt.block1
        if block is None:
            if len(request.payload) > MAX_LINKS_OCTETS:
                raise RefusedError("too many links", 413)
            return bytes(request.payload)
        key = (source, "/".join((*request.opt.uri_path, *request.opt.uri_query)))
        transfer = self._transfers.pop(key, None)
        if block.block_number == 0:
            transfer = _Transfer(bytearray(), time.monotonic())
        if transfer is None or block.start != len(transfer.body):
            raise RefusedError("a block that does not follow the one before", 408)
        if len(transfer.body) + len(request.payload) > MAX_LINKS_OCTETS:
            raise RefusedError("too many links", 413)
        transfer.body += request.payload
        if not block.more:
            return bytes(transfer.body)
        if len(request.payload) != block.size:
            raise RefusedError("a block of another size than it says")
        of_one = [each for each in self._transfers if each[0][0] == source[0]]
        if len(of_one) >= _TRANSFERS_OF_ONE:
            del self._transfers[of_one[0]]
        if len(self._transfers) >= _TRANSFERS:
            self._transfers.popitem(last=False)
        self._transfers[key] = transfer
        return None

    def _looked_up(
        self, request: aiocoap.Message, path: tuple[str, ...], query: dict[str, str], source: Endpoint
    ) -> aiocoap.Message:
        if not ipaddress.ip_address(source[0].partition("%")[0]).is_loopback:
            raise RefusedError("lookups are answered to this machine only", 403)
        if path == (".well-known", "core"):
            body = _CORE
        elif path == ("rd-lookup", "ep"):
            body = ",".join(self._directory.endpoints(query)).encode()
        elif path == ("rd-lookup", "res"):
            body = ",".join(self._directory.resources(query)).encode()
        else:
            raise RefusedError("nothing is here", 404)
        response = aiocoap.Message(code=aiocoap.CONTENT, content_format=CONTENT_LINKS)
        block = request.opt.block2
        size = min(block.size, _BLOCK) if block is not None else _BLOCK
        at = block.start if block is not None else 0
        if at and at >= len(body):
            raise RefusedError("there is no such block")
        if len(body) > size or block is not None:
            exponent = size.bit_length() - 5
            response.opt.block2 = (at // size, at + size < len(body), exponent)
            response.opt.etag = hashlib.sha256(body).digest()[:4]
            response.opt.size2 = len(body)
        response.payload = body[at : at + size]
        return response
