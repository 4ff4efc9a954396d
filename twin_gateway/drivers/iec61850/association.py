"""One MMS association on asyncio: connect, requests in flight, reports and control notices, liveness, close.

No thread and no reader task: the protocol object decodes as octets arrive. Whatever goes wrong while decoding closes
the association with a reason; a request never waits longer than its time-out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from open61850.ber import encode_tlv
from open61850.mms import pdu
from open61850.mms.association import Association as Agreement
from open61850.mms.association import AssociationParameters, association_request, decode_association_response

from twin_gateway.drivers.capture import Carrier, Flow
from twin_gateway.drivers.contract import Link

from . import tlv
from .errors import (
    MmsBusy,
    MmsConnectionError,
    MmsError,
    MmsNotSent,
    MmsProtocolError,
    MmsReject,
    MmsTimeout,
    MmsTooLarge,
    ServiceError,
)
from .transport import Cotp

ReportSink = Callable[[bytes, int, int], None]
"""Takes (buffer, start, stop) of the access results of one report; called inside the protocol, must not block."""
ReadSink = Callable[[], None]
"""Called when all reports that were read at once have been handed on; must not block."""
NoticeSink = Callable[[pdu.InformationReport], None]
"""Takes an information report that is no 61850 report: LastApplError and CommandTermination."""

IDENTIFY = encode_tlv(0x82)
"""The cheapest confirmed request that every server answers, if only with an error."""
_DEFAULT_PDU_SIZE = 65000
_CLOSE_WAIT = 0.5
_SLICE = 16 << 10
"""Octets that are decoded at a time: a peer that sends faster than that is read no further until others have run."""
_MAX_ANSWER = 4096
"""Octets of the answer to an association; a sound one has about 200."""
_ENVELOPE = 12
"""Octets of the confirmed request around a service, at most."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where to associate.

    Attributes:
        host: name or IP address.
        port: 102, with TLS 3782.
        tls: context for IEC 62351-3 (mutual certificates), or None.
        server_name: name expected in the certificate; None takes `host`.
    """

    host: str
    port: int = 102
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


class Association(asyncio.Protocol):
    """An open association; make it with `connect`.

    Attributes:
        agreement: what the server accepted (services, nesting, requests in flight).
        pdu_size: octets of one MMS PDU either side may send.
        closed: done when the association is over; its result is the reason.
        last_heard: loop time in seconds of the last octets received.
        received: octets received.
        stray: answers that nobody waited for (late ones).
    """

    agreement: Agreement

    def __init__(
        self,
        on_report: ReportSink | None = None,
        on_read: ReadSink | None = None,
        *,
        request_timeout: float = 5.0,
        link: Link | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._on_report = on_report
        self._on_read = on_read
        self._backlog, self._end = b"", ""
        self._notices: list[NoticeSink] = []
        self._request_timeout = request_timeout
        self._cotp = Cotp()
        self._transport: asyncio.Transport | None = None
        self._open: asyncio.Future[None] = self._loop.create_future()
        self._proposal: bytes | None = association_request(AssociationParameters(max_pdu_size=_DEFAULT_PDU_SIZE))
        self._pending: dict[int, asyncio.Future[pdu.ConfirmedResponse]] = {}
        self._ids = itertools.count(1)
        self._slots = asyncio.Semaphore(1)
        self.pdu_size = _DEFAULT_PDU_SIZE
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self.last_heard = self._loop.time()
        self.received = 0
        self.stray = 0

    @classmethod
    async def connect(
        cls,
        peer: Peer,
        on_report: ReportSink | None = None,
        on_read: ReadSink | None = None,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109 - one bound for resolve, connect, TLS, transport and association together
        request_timeout: float = 5.0,
        link: Link | None = None,
    ) -> Association:
        """Associate within `timeout` seconds; what goes over the wire is shown to `link`.

        Raises:
            MmsConnectionError: refused, unreachable, not MMS, or too slow.
        """
        loop = asyncio.get_running_loop()
        self = cls(on_report, on_read, request_timeout=request_timeout, link=link)
        name = (peer.server_name or peer.host) if peer.tls is not None else None
        try:
            async with asyncio.timeout(timeout):
                await loop.create_connection(lambda: self, peer.host, peer.port, ssl=peer.tls, server_hostname=name)
                await self._open
        except TimeoutError:
            self._fail(f"no association within {timeout:g} s")
            raise MmsConnectionError(f"no association with {peer.host}:{peer.port} within {timeout:g} s") from None
        except OSError as error:
            self._fail(str(error))
            raise error if isinstance(error, MmsConnectionError) else MmsConnectionError(str(error)) from error
        except BaseException:
            self._fail("cancelled")
            raise
        finally:
            if self._open.done() and not self._open.cancelled():
                self._open.exception()  # seen, whoever lost the race
        return self

    @property
    def local_address(self) -> str | None:
        """Our IP address as the server sees it in Owner; None when not known."""
        name = self._transport.get_extra_info("sockname") if self._transport is not None else None
        return str(name[0]) if name else None

    @property
    def peer_valid_until(self) -> float | None:
        """End of validity of the device's certificate, s since 1970; None without TLS."""
        shown = self._transport.get_extra_info("peercert") if self._transport is not None else None
        return ssl.cert_time_to_seconds(shown["notAfter"]) if shown else None

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set socket options and open the ISO transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop has its own class
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
                if hasattr(socket, option):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        if self._link is not None:
            ours, theirs = (transport.get_extra_info(name) or ("0.0.0.0", 0) for name in ("sockname", "peername"))
            self._link.connected(Flow(Carrier.TCP, (ours[0], ours[1]), (theirs[0], theirs[1])))
        self._write(self._cotp.connection_request())

    def data_received(self, data: bytes) -> None:
        """Decode what arrived; of much of it a slice now and the rest when other work has had its turn."""
        self.last_heard = self._loop.time()
        self.received += len(data)
        if self.closed.done():
            return
        if self._link is not None:
            self._link.traffic(False, data)
        if len(data) <= _SLICE and not self._backlog:
            self._decode(bytes(data))
            return
        if not self._backlog:
            self._loop.call_soon(self._go_on)
            if self._transport is not None:
                self._transport.pause_reading()
        self._backlog += data

    def _go_on(self) -> None:
        """Decode the next slice of what was read."""
        part, self._backlog = self._backlog[:_SLICE], self._backlog[_SLICE:]
        if self.closed.done():
            self._backlog = b""
            return
        self._decode(part)
        if self._backlog:
            self._loop.call_soon(self._go_on)
        elif self._end:
            self._fail(self._end)
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _decode(self, data: bytes) -> None:
        try:
            try:
                self._messages(data)
            finally:  # what came before nonsense is sound
                if self._on_read is not None:
                    self._on_read()
        except MmsError as error:
            self._fail(str(error))
        except Exception as error:  # the codec may raise anything on nonsense: the link closes, the process lives
            self._fail(f"cannot decode what the peer sent: {type(error).__name__}: {error}")

    def _messages(self, data: bytes) -> None:
        for tsdu in self._cotp.feed(data):
            if self._open.done():
                self._message(tsdu)
            else:
                self._associated(tsdu)
            if self.closed.done():
                return
        if self._proposal is not None and self._cotp.confirmed:
            self._write(self._cotp.encode(self._proposal))
            self._proposal = None

    def eof_received(self) -> None:
        """The peer closed its side."""
        self._ended("closed by the peer")

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._ended(str(exc) if exc else "connection closed")

    def _ended(self, reason: str) -> None:
        """The end counts when what came before it has been decoded."""
        if self._backlog:
            self._end = self._end or reason
        else:
            self._fail(reason)

    # -- decoding ------------------------------------------------------------------------------------------------

    def _associated(self, tsdu: bytes) -> None:
        if len(tsdu) > _MAX_ANSWER:
            raise MmsProtocolError(f"answer to the association of {len(tsdu)} octets")
        self.agreement = decode_association_response(tsdu)
        self.pdu_size = max(256, min(self.agreement.max_pdu_size or _DEFAULT_PDU_SIZE, _DEFAULT_PDU_SIZE))
        self._slots = asyncio.Semaphore(max(1, min(self.agreement.max_outstanding_calling, 16)))
        self._open.set_result(None)

    def _message(self, tsdu: bytes) -> None:
        start, stop = tlv.mms_pdu(tsdu)
        tag, inner, end = tlv.header(tsdu, start, stop)
        if tag == pdu.TAG_UNCONFIRMED and self._report(tsdu, inner, end):
            return
        tlv.check_depth(tsdu, start, stop)
        message = pdu.decode_pdu(tsdu[start:stop])
        if isinstance(message, pdu.InformationReport):
            for sink in tuple(self._notices):
                sink(message)
        elif isinstance(message, pdu.ConfirmedResponse | pdu.ConfirmedError | pdu.Reject):
            self._answer(message)

    def _report(self, tsdu: bytes, position: int, end: int) -> bool:
        """Hand a 61850 report (an information report on the list RPT) on; False when it is something else."""
        tag, position, end = tlv.header(tsdu, position, end)
        if tag != 0xA0:
            raise MmsProtocolError(f"unconfirmed service 0x{tag:02X}")
        if tsdu[position : position + 7] != b"\xa1\x05\x80\x03RPT":
            return False
        tag, start, stop = tlv.header(tsdu, position + 7, end)
        if tag != 0xA0 or stop != end:
            raise MmsProtocolError("report without a list of access results")
        if self._on_report is not None:
            self._on_report(tsdu, start, stop)
        return True

    def _answer(self, message: pdu.ConfirmedResponse | pdu.ConfirmedError | pdu.Reject) -> None:
        if isinstance(message, pdu.Reject) and message.invoke_id is None:
            raise MmsReject(message.reason_tag, message.code)
        future = self._pending.pop(message.invoke_id, None) if message.invoke_id is not None else None
        if future is None or future.done():
            self.stray += 1
        elif isinstance(message, pdu.ConfirmedResponse):
            future.set_result(message)
        elif isinstance(message, pdu.ConfirmedError):
            future.set_exception(ServiceError(message.error_class, message.code))
        else:
            future.set_exception(MmsReject(message.reason_tag, message.code))

    # -- requests ------------------------------------------------------------------------------------------------

    async def request(
        self,
        service: bytes,
        timeout: float | None = None,  # noqa: ASYNC109 - bounds the answer, not the wait for a slot
        *,
        turn: float | None = None,
    ) -> pdu.ConfirmedResponse:
        """Send a confirmed request and wait for its answer, at most `timeout` seconds (default: `request_timeout`).

        No more requests are in flight than the server accepted; further ones wait their turn, at most `turn` seconds
        where that is given (commands, which must not leave late).

        Raises:
            MmsTooLarge: the device takes no message of that size; nothing was sent.
            MmsBusy: its turn did not come in time; nothing was sent.
            MmsConnectionError: the association is over; `MmsNotSent` when it was before.
            MmsTimeout: no answer in time; the answer is ignored when it comes.
            ServiceError, MmsReject: the server refused.
        """
        limit = timeout or self._request_timeout
        if len(service) + _ENVELOPE > self.pdu_size:
            raise MmsTooLarge(f"a request of {len(service)} octets to a device that takes {self.pdu_size}")
        slots = self._slots
        try:
            async with asyncio.timeout(turn):
                await slots.acquire()
        except TimeoutError:
            raise MmsBusy(f"{len(self._pending)} requests were under way for {turn or 0:g} s") from None
        try:
            if self.closed.done():
                raise MmsNotSent(self.closed.result())
            invoke_id = next(self._ids) & 0x7FFF_FFFF
            future: asyncio.Future[pdu.ConfirmedResponse] = self._loop.create_future()
            self._pending[invoke_id] = future
            self._write(self._cotp.encode(pdu.wrap(pdu.confirmed_request(invoke_id, service))))
            try:
                async with asyncio.timeout(limit):
                    return await future
            except TimeoutError as error:
                if isinstance(error, MmsError):
                    raise
                raise MmsTimeout(f"no answer within {limit:g} s") from None
            finally:
                self._pending.pop(invoke_id, None)
        finally:
            slots.release()

    def add_notice_sink(self, sink: NoticeSink) -> None:
        """Have `sink` called with every control notice."""
        self._notices.append(sink)

    def remove_notice_sink(self, sink: NoticeSink) -> None:
        """Undo `add_notice_sink`."""
        self._notices.remove(sink)

    async def watch(self, *, idle: float = 3.0, timeout: float = 4.0) -> str:  # noqa: ASYNC109 - of each probe
        """Wait until the association is over and return the reason; ask a silent peer for a sign of life.

        Args:
            idle: seconds without octets after which the peer is asked.
            timeout: seconds it may take to answer; then the association is closed.
        """
        while not self.closed.done():
            silent = self._loop.time() - self.last_heard
            if silent < idle:
                await asyncio.wait((self.closed,), timeout=idle - silent + 0.01)
                continue
            try:
                await self.request(IDENTIFY, timeout)
            except MmsTimeout:
                if self._loop.time() - self.last_heard >= timeout:
                    self._fail(f"peer silent for {self._loop.time() - self.last_heard:.1f} s")
            except MmsConnectionError:
                break
            except MmsError:
                continue  # a refusal is a sign of life as well
        return await self.closed

    async def close(self) -> None:
        """Conclude and close; returns when the socket is closed. Pending requests fail."""
        if not self.closed.done() and self._open.done():
            self._write(self._cotp.encode(pdu.wrap(pdu.conclude_request())))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.closed), _CLOSE_WAIT)
        self._fail("closed by us")

    def abort(self, reason: str) -> None:
        """End the association at once."""
        self._fail(reason)

    # -- the end -------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self.closed.done():
            if self._link is not None:
                self._link.traffic(True, data)
            self._transport.write(data)

    def _fail(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)
        error = MmsConnectionError(reason)
        if not self._open.done():
            self._open.set_exception(error)
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(error)
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
