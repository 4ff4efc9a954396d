"""The client's side of one association, whatever the names: opening and closing it, one request and its reply; no I/O.

Every service is a generator of steps: it yields an APDU to send (or nothing: wait for one more) and is sent the APDU
that came back; see block_transfer.Steps. session.py drives the steps over TCP; tests drive them with bytes.
"""

from __future__ import annotations

import hmac
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from twin_gateway.drivers.dlms.acse import (
    NOTHING,
    PROVED,
    AssociationRequest,
    AssociationResponse,
    Conformance,
    InitiateRequest,
    InitiateResponse,
    Mechanism,
    release_request,
)
from twin_gateway.drivers.dlms.axdr import Tag, Value, encode
from twin_gateway.drivers.dlms.block_transfer import HEADER_OCTETS, MOST_PASSED, PASSED, BlockTransfer, Steps
from twin_gateway.drivers.dlms.ciphering import Ciphering
from twin_gateway.drivers.dlms.errors import (
    ASSOCIATE_DIAGNOSTICS,
    DECIPHERING_ERROR,
    INVOCATION_COUNTER_ERROR,
    AccessError,
    ActionError,
    AssociationError,
    DlmsError,
    MalformedApduError,
    NotNegotiatedError,
    SecurityError,
    ServiceError,
    TooLargeError,
)
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.services import EXCEPTION_RESPONSE, UNASKED, invoke_of, raise_if_refused

_PROTECTION_OCTETS = 40
"""Ciphering adds at most this much to a request (tag, length, control, counter, authentication tag, margin)."""
_AGREEMENT_OCTETS = 160
"""What an agreed key adds: titles, the point and its signature."""
_DIAGNOSTIC_AUTHENTICATION_REQUIRED = 14


@dataclass(slots=True)
class Counters:
    """What an association saw that is odd but survivable."""

    trailing_octets: int = 0
    stale_replies: int = 0
    notifications: int = 0
    list_fallbacks: int = 0
    repeated_blocks: int = 0


@dataclass(slots=True)
class Limits:
    """Bounds of an association.

    Attributes:
        pdu_size: largest APDU we take, octets (proposed to the meter).
        value_octets: longest value put together from blocks.
        list_items: most attributes asked for in one GET with-list.
        block_window: blocks of general block transfer taken in a row, 1 to 63; 0: it is not proposed.
    """

    pdu_size: int = 0xFFFF
    value_octets: int = 8 << 20
    list_items: int = 32
    block_window: int = 0


@dataclass(slots=True)
class Association(ABC):
    """State of one association and what does not depend on the names; make a new one for every connection.

    logical_names.py and short_names.py have the services.

    Args:
        mechanism: authentication.
        password: LLS password.
        ciphering: keys and counters; required for HLS_GMAC and HLS_ECDSA.
        dedicated_for_hls: pass 3 under the dedicated key instead of the global one (meters differ).
        limits: bounds.

    Attributes:
        conformance: what was negotiated; services outside it raise NotNegotiatedError.
        pdu_size: largest APDU the meter takes, octets.
        counters: oddities seen.
        in_step: False once an answer may be on its way that would be taken for that to the next request; the
            connection has to end then.
    """

    mechanism: Mechanism = Mechanism.NONE
    password: bytes = field(default=b"", repr=False)
    ciphering: Ciphering | None = None
    dedicated_for_hls: bool = False
    limits: Limits = field(default_factory=Limits)
    conformance: Conformance = NOTHING
    pdu_size: int = 0xFFFF
    counters: Counters = field(default_factory=Counters)
    in_step: bool = True
    _contexts: ClassVar[tuple[int, int]]
    """Application contexts without and with ciphering."""
    _can: ClassVar[Conformance]
    """Services that may be proposed."""
    _reading: ClassVar[Conformance]
    _selecting: ClassVar[Conformance]
    """The services that read an attribute, and some rows of one."""
    _item_octets: ClassVar[int]
    """Octets of one attribute in a request for several."""
    _dedicated: bool = False
    _lists: bool = True

    # --- opening and closing -------------------------------------------------------------------------------------

    def open(self) -> Steps[None]:
        """Associates, and with HLS proves both sides to each other.

        Raises:
            AssociationError: the meter said no (wrong password, unknown client, ...).
            SecurityError: the meter could not prove that it knows the keys, or skipped doing so.
            ServiceError: exception-response, for instance because of the invocation counter.
            DlmsError: anything else that is wrong with its answer.
        """
        proving = self.mechanism in PROVED
        if proving and self.ciphering is None:
            raise SecurityError(f"{self.mechanism.name} needs keys")
        challenge = secrets.token_bytes(32 if self.mechanism is Mechanism.HLS_ECDSA else 16) if proving else b""
        raw = yield AssociationRequest(
            context=self._contexts[bool(self.ciphering)],
            mechanism=self.mechanism,
            user_information=self._initiate(),
            title=self.ciphering.title if self.ciphering else b"",
            secret=challenge or self.password,
        ).encode()
        raise_if_refused(raw)
        answer = AssociationResponse.decode(raw)
        if answer.result:
            text = ASSOCIATE_DIAGNOSTICS.get(answer.diagnostic, f"diagnostic {answer.diagnostic}")
            raise AssociationError(f"association refused: {text}", answer.diagnostic)
        self._take_initiate(answer)
        if proving:
            yield from self._prove(answer, challenge)
        self._dedicated = bool(self.ciphering and self.ciphering.dedicated)
        yield from self._get_ready()

    def _get_ready(self) -> Steps[None]:
        """What has to be read before the first service."""
        yield from ()

    @abstractmethod
    def _give_proof(self, proof: bytes) -> Steps[Value]:
        """Pass 3 of HLS: invokes reply_to_HLS_authentication with an encoded proof; the meter's own proof."""

    @property
    def _proposed(self) -> Conformance:
        proposed = self._can
        if self.limits.block_window:
            proposed |= Conformance.GENERAL_BLOCK_TRANSFER
        cipher = self.ciphering
        if cipher and (cipher.protection.general or cipher.protection.agreement):
            proposed |= Conformance.GENERAL_PROTECTION
        return proposed

    def _initiate(self) -> bytes:
        cipher = self.ciphering
        dedicated = cipher.dedicated.octets if cipher and cipher.dedicated else b""
        plain = InitiateRequest(self._proposed, self.limits.pdu_size, dedicated).encode()
        return cipher.protect(plain) if cipher else plain

    def _take_initiate(self, answer: AssociationResponse) -> None:
        user = answer.user_information
        raise_if_refused(user)
        if self.ciphering:
            if len(answer.title) != 8:
                raise SecurityError("the meter did not give its system title")
            if answer.title == self.ciphering.title:
                # Its messages would be ours sent back.
                raise SecurityError("the meter uses our own system title")
            self.ciphering.peer_title = answer.title
            user = self.ciphering.unprotect(user)
            raise_if_refused(user)
        initiate = InitiateResponse.decode(user)
        self.conformance = Conformance(initiate.conformance) & self._proposed
        if self._proposed & ~self.conformance & Conformance.GENERAL_PROTECTION:
            raise NotNegotiatedError("the meter does not offer general protection (general-glo-, general-ciphering)")
        self.pdu_size = initiate.pdu_size or 0xFFFF
        if self._room < 24:
            raise MalformedApduError(f"the meter takes only {self.pdu_size} octets an APDU")

    def _prove(self, answer: AssociationResponse, ours: bytes) -> Steps[None]:
        """Passes 3 and 4 of HLS."""
        cipher = self.ciphering
        if cipher is None:
            raise SecurityError("HLS-GMAC needs keys")
        theirs = answer.challenge
        if answer.diagnostic != _DIAGNOSTIC_AUTHENTICATION_REQUIRED or not 8 <= len(theirs) <= 64:
            raise SecurityError("the meter skipped high level authentication")
        if hmac.compare_digest(theirs, ours):
            raise SecurityError("the meter sent our own challenge back")
        self._dedicated = self.dedicated_for_hls and cipher.dedicated is not None
        ecdsa = self.mechanism is Mechanism.HLS_ECDSA
        proof = cipher.sign_challenge(theirs, ours) if ecdsa else cipher.challenge_answer(theirs)
        try:
            reply = yield from self._give_proof(encode(Tag.OCTET_STRING, proof))
        except (AccessError, ActionError) as error:
            raise AssociationError(f"the meter refused our authentication: {error}", 13) from error
        right = isinstance(reply, bytes) and (
            cipher.check_signature(reply, ours, theirs) if ecdsa else cipher.check_answer(reply, ours)
        )
        if not right:
            raise SecurityError("the meter failed to prove that it knows the keys")

    def release(self) -> Steps[None]:
        """Asks the meter to end the association; whatever it answers ends it."""
        user = self._initiate() if self.ciphering else b""
        yield release_request(user)

    # --- services ------------------------------------------------------------------------------------------------

    @property
    def can_list(self) -> bool:
        """Whether GET with-list is negotiated and has not been refused since."""
        return self._lists and self._has(Conformance.MULTIPLE_REFERENCES)

    @property
    def can_select(self) -> bool:
        """Whether rows of a profile can be selected."""
        return self._has(self._selecting)

    @abstractmethod
    def get(self, attribute: Attribute, selection: bytes = b"") -> Steps[Value]:
        """Value of one attribute, put together from blocks where the meter sends blocks.

        Args:
            attribute: of which object.
            selection: selector and parameters of selective access (services.by_range, by_entry).

        Raises:
            AccessError: data-access-result.
            NotNegotiatedError: reading or selective access is not available.
            TooLargeError: more octets than the limit.
            DlmsError: the reply cannot be read.
        """

    @abstractmethod
    def set(self, attribute: Attribute, data: bytes) -> Steps[None]:
        """Sets one attribute to an encoded value, in blocks when it does not fit one APDU.

        Raises:
            AccessError: data-access-result.
            NotNegotiatedError: writing is not available, or the value does not fit one APDU and blocks are not either.
        """

    @abstractmethod
    def action(self, method: Attribute, data: bytes = b"") -> Steps[Value]:
        """Invokes a method with an encoded parameter; returns what it returns (None for nothing). Blocks as needed.

        Raises:
            ActionError: action-result.
            AccessError: the method ran, its return value is not available.
            NotNegotiatedError: methods are not available, or the parameter does not fit one APDU and blocks are not.
        """

    @abstractmethod
    def _get_list(self, attributes: list[Attribute]) -> Steps[list[Value | DlmsError]]:
        """Values or refusals of several attributes by one request."""

    def get_many(self, attributes: list[Attribute]) -> Steps[list[Value | DlmsError]]:
        """Values of several attributes, in order, with as few requests as the association allows.

        What goes wrong with one attribute (refused, not readable, too large) stands in its place in the result.

        Raises:
            NotNegotiatedError: the association has no GET.
            SecurityError: a reply is not authentic.
            ServiceError: the meter does not understand us any more (counter or keys).
        """
        self._require(self._reading, self._reading.name or "")
        out: list[Value | DlmsError] = []
        room = (self._room - 8) // self._item_octets
        step = max(1, min(room, self.limits.list_items))
        at = 0
        while at < len(attributes):
            part = attributes[at : at + step]
            at += len(part)
            if self.can_list and len(part) > 1:
                try:
                    out += yield from self._get_list(part)
                    continue
                except ServiceError as refusal:
                    _raise_if_general(refusal)
                    # Some meters offer with-list and then refuse it: single requests from here on.
                    self._lists = False
                    self.counters.list_fallbacks += 1
                except (AccessError, MalformedApduError, TooLargeError, NotNegotiatedError):
                    # One bad value must not cost the others: each on its own, this time.
                    self.counters.list_fallbacks += 1
            for attribute in part:
                out.append((yield from self._get_one(attribute)))
        return out

    def _get_one(self, attribute: Attribute) -> Steps[Value | DlmsError]:
        try:
            return (yield from self.get(attribute))
        except ServiceError as refusal:
            _raise_if_general(refusal)
            return refusal
        except (AccessError, MalformedApduError, TooLargeError, NotNegotiatedError) as error:
            return error

    # --- one request, one reply ----------------------------------------------------------------------------------

    def _has(self, bit: Conformance) -> bool:
        # Flags of enum make an object for every result, which every request would pay several times.
        return int.__and__(self.conformance, bit) != 0

    def _require(self, bit: Conformance, name: str) -> None:
        if not self._has(bit):
            raise NotNegotiatedError(f"the meter does not offer {name} in this association")

    @property
    def _room(self) -> int:
        """Octets of a plain APDU that the meter takes."""
        cipher = self.ciphering
        if cipher is None:
            return self.pdu_size
        return self.pdu_size - _PROTECTION_OCTETS - (_AGREEMENT_OCTETS if cipher.protection.agreement else 0)

    def _fits(self, request: bytes, blocks: Conformance) -> bool:
        """Whether a request goes out whole (general block transfer then cuts it); False: in blocks of its service.

        Raises:
            NotNegotiatedError: neither is possible.
        """
        if len(request) <= self._room or self._has(Conformance.GENERAL_BLOCK_TRANSFER):
            return True
        if not self._has(blocks):
            raise NotNegotiatedError(f"a request of {len(request)} octets is longer than the meter takes")
        return False

    def _call(self, request: bytes, expected: int, invoke: int = -1) -> Steps[bytes]:
        """Protects and sends a request until its own reply comes; returns that in plain.

        Args:
            request: plain APDU.
            expected: tag of the reply.
            invoke: invoke id of request and reply; -1: the service has none.
        """
        out = self.ciphering.protect(request, self._dedicated) if self.ciphering else request
        passed = 0
        blocks: BlockTransfer | None = None
        if self._has(Conformance.GENERAL_BLOCK_TRANSFER):
            octets = self.pdu_size - HEADER_OCTETS
            blocks = BlockTransfer(self.limits.block_window, octets, self.limits.value_octets)
        try:
            if blocks and len(out) > self.pdu_size:
                received = yield from blocks.send(out)
            else:
                received = yield out
            while True:
                if blocks and received[:1] == b"\xe0":
                    received = yield from blocks.receive(received)
                reply = self._plain(received)
                if reply[0] in UNASKED:
                    self.counters.notifications += 1
                else:
                    raise_if_refused(reply)
                    if reply[0] != expected:
                        raise MalformedApduError(f"APDU 0x{reply[0]:02x} instead of 0x{expected:02x}")
                    if invoke < 0 or invoke_of(reply) == invoke & 0x0F:
                        return reply
                    # The answer to an earlier request that was given up.
                    self.counters.stale_replies += 1
                passed += 1
                if passed > MOST_PASSED:
                    raise MalformedApduError("the meter sends everything but the answer")
                received = yield PASSED
        except ServiceError:
            raise
        except DlmsError:
            # Only numbers tell an answer that still comes from that to the next request.
            self.in_step = invoke >= 0
            raise
        finally:
            if blocks:
                self.counters.repeated_blocks += blocks.repeated

    def _plain(self, received: bytes) -> bytes:
        if not received:
            raise MalformedApduError("empty APDU")
        # An exception-response is never ciphered; it decides nothing but that the request failed.
        if self.ciphering is None or received[0] == EXCEPTION_RESPONSE:
            return received
        if received[0] in UNASKED:
            return received
        return self.ciphering.unprotect(received)


def _raise_if_general(refusal: ServiceError) -> None:
    """Raises a refusal that is not about the one request but about the association."""
    if refusal.service_error in {DECIPHERING_ERROR, INVOCATION_COUNTER_ERROR}:
        raise refusal
