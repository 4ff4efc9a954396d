"""The client's side of one association with logical names, without any input or output.

Every service is a generator of steps: it yields an APDU to send (or nothing: wait for one more) and is sent the APDU
that came back; see block_transfer.Steps. session.py drives the steps over TCP; tests drive them with bytes.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import ClassVar

from twin_gateway.drivers.dlms.acse import (
    LONG_NAMES,
    LONG_NAMES_CIPHERED,
    NOTHING,
    PROPOSED,
    PROVED,
    AssociationRequest,
    AssociationResponse,
    Conformance,
    InitiateRequest,
    InitiateResponse,
    Mechanism,
    release_request,
)
from twin_gateway.drivers.dlms.axdr import Tag, Value, decode, encode
from twin_gateway.drivers.dlms.block_transfer import HEADER_OCTETS, MOST_PASSED, WAIT, BlockTransfer, Steps, cut
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
from twin_gateway.drivers.dlms.obis import ASSOCIATION, ASSOCIATION_LN, Attribute
from twin_gateway.drivers.dlms.services import (
    ACTION_NEXT,
    ACTION_RESPONSE,
    BLOCK,
    DATA_NOTIFICATION,
    EVENT_NOTIFICATION,
    EXCEPTION_RESPONSE,
    GET_RESPONSE,
    LIST,
    LIST_ITEM_OCTETS,
    SET_RESPONSE,
    Block,
    action_block,
    action_next,
    action_normal,
    get_list,
    get_next,
    get_normal,
    invoke_of,
    parse_action,
    parse_action_block,
    parse_block,
    parse_get,
    parse_list,
    parse_set,
    parse_set_blocks,
    raise_if_refused,
    set_block,
    set_normal,
)

_PROTECTION_OCTETS = 40
"""Ciphering adds at most this much to a request (tag, length, control, counter, authentication tag, margin)."""
_AGREEMENT_OCTETS = 160
"""What an agreed key adds: titles, the point and its signature."""
_BLOCK_OCTETS = 26
"""What SET and ACTION put around a block: service, attribute, number, length."""
_HIGH_PRIORITY_CONFIRMED = 0xC0
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
class Association:
    """State of one association; make a new one for every connection.

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
    """

    mechanism: Mechanism = Mechanism.NONE
    password: bytes = field(default=b"", repr=False)
    ciphering: Ciphering | None = None
    dedicated_for_hls: bool = False
    limits: Limits = field(default_factory=Limits)
    conformance: Conformance = NOTHING
    pdu_size: int = 0xFFFF
    counters: Counters = field(default_factory=Counters)
    _contexts: ClassVar[tuple[int, int]] = (LONG_NAMES, LONG_NAMES_CIPHERED)
    """Application contexts without and with ciphering."""
    _can: ClassVar[Conformance] = PROPOSED
    _reading: ClassVar[Conformance] = Conformance.GET
    _selecting: ClassVar[Conformance] = Conformance.SELECTIVE_ACCESS
    _item_octets: ClassVar[int] = LIST_ITEM_OCTETS
    _invoke: int = 0
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
        """What has to be read before the first service; nothing with logical names."""
        yield from ()

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

    def _give_proof(self, proof: bytes) -> Steps[Value]:
        # The reply of pass 4 is part of associating: no conformance is asked for.
        return (yield from self._action(Attribute(ASSOCIATION, ASSOCIATION_LN, 1), proof))

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

    def get(self, attribute: Attribute, selection: bytes = b"") -> Steps[Value]:
        """Value of one attribute, put together from blocks where the meter sends blocks.

        Raises:
            AccessError: data-access-result.
            NotNegotiatedError: selective access is not available.
            TooLargeError: more octets than the limit.
            DlmsError: the reply cannot be read.
        """
        self._require(Conformance.GET, "GET")
        if selection:
            self._require(Conformance.SELECTIVE_ACCESS, "selective access")
        invoke = self._next_invoke()
        reply = yield from self._call(get_normal(invoke, attribute, selection), GET_RESPONSE, invoke)
        result = parse_get(reply)
        if isinstance(result, AccessError):
            raise result
        if isinstance(result, Block):
            data = yield from self._blocks(result, invoke)
            value, at = decode(data)
            self.counters.trailing_octets += len(data) - at
            return value
        value, trailing = result
        self.counters.trailing_octets += trailing
        return value

    def get_many(self, attributes: list[Attribute]) -> Steps[list[Value | DlmsError]]:
        """Values of several attributes, in order, with as few requests as the association allows.

        What goes wrong with one attribute (refused, not readable, too large) stands in its place in the result.

        Raises:
            NotNegotiatedError: the association has no GET.
            SecurityError: a reply is not authentic.
            ServiceError: the meter does not understand us any more (counter or keys).
        """
        self._require(self._reading, "GET" if self._reading is Conformance.GET else "READ")
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
                except (MalformedApduError, TooLargeError, NotNegotiatedError):
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

    def _get_list(self, attributes: list[Attribute]) -> Steps[list[Value | DlmsError]]:
        invoke = self._next_invoke()
        reply = yield from self._call(get_list(invoke, attributes), GET_RESPONSE, invoke)
        if reply[1] == LIST:
            values, trailing = parse_list(reply, 3, len(attributes))
        else:
            block = parse_block(reply)
            if isinstance(block, AccessError):
                return [block] * len(attributes)
            data = yield from self._blocks(block, invoke)
            values, trailing = parse_list(data, 0, len(attributes))
        self.counters.trailing_octets += trailing
        return values

    def _blocks(self, block: Block, invoke: int) -> Steps[bytes]:
        """All blocks of a long GET put together, the first of which is given."""
        if not self._has(Conformance.BLOCK_TRANSFER_GET):
            raise NotNegotiatedError("the meter sent blocks although block transfer is not negotiated")
        parts, total, number = [block.data], len(block.data), block.number
        while not block.last:
            if total > self.limits.value_octets or (len(parts) > 1 and not block.data):
                raise TooLargeError(f"value is longer than {self.limits.value_octets} octets, or does not end")
            reply = yield from self._call(get_next(invoke, number), GET_RESPONSE, invoke)
            following = parse_block(reply)
            if isinstance(following, AccessError):
                raise following
            if following.number != number + 1:
                raise MalformedApduError(f"block {following.number} instead of {number + 1}")
            block, number = following, following.number
            parts.append(block.data)
            total += len(block.data)
        if total > self.limits.value_octets:
            raise TooLargeError(f"value is longer than {self.limits.value_octets} octets")
        return b"".join(parts)

    def set(self, attribute: Attribute, data: bytes) -> Steps[None]:
        """Sets one attribute to an encoded value, in blocks when it does not fit one APDU.

        Raises:
            AccessError: data-access-result.
            NotNegotiatedError: SET is not available, or the value does not fit one APDU and blocks are not either.
        """
        self._require(Conformance.SET, "SET")
        invoke = self._next_invoke()
        request = set_normal(invoke, attribute, data)
        if self._fits(request, Conformance.BLOCK_TRANSFER_SET):
            parse_set((yield from self._call(request, SET_RESPONSE, invoke)))
            return
        cuts = cut(data, self._cut_octets)
        for number, part in enumerate(cuts, 1):
            request = set_block(invoke, attribute, number, number == len(cuts), part)
            if parse_set_blocks((yield from self._call(request, SET_RESPONSE, invoke)), number, number == len(cuts)):
                return

    def action(self, method: Attribute, data: bytes = b"") -> Steps[Value]:
        """Invokes a method with an encoded parameter; returns what it returns (None for nothing). Blocks as needed.

        Raises:
            ActionError: action-result.
            AccessError: the method ran, its return value is not available.
            NotNegotiatedError: ACTION is not available, or the parameter does not fit one APDU and blocks are not.
        """
        self._require(Conformance.ACTION, "ACTION")
        return (yield from self._action(method, data))

    def _action(self, method: Attribute, data: bytes) -> Steps[Value]:
        invoke = self._next_invoke()
        request = action_normal(invoke, method, data)
        if self._fits(request, Conformance.BLOCK_TRANSFER_ACTION):
            reply = yield from self._call(request, ACTION_RESPONSE, invoke)
        else:
            reply = yield from self._action_blocks(invoke, method, data)
        if reply[1] == BLOCK:
            whole = yield from self._action_result(parse_action_block(reply), invoke)
            value, at = decode(whole)
            self.counters.trailing_octets += len(whole) - at
            return value
        value, trailing = parse_action(reply)
        self.counters.trailing_octets += trailing
        return value

    def _action_blocks(self, invoke: int, method: Attribute, data: bytes) -> Steps[bytes]:
        cuts = cut(data, self._cut_octets)
        for number, part in enumerate(cuts, 1):
            request = action_block(invoke, method, number, number == len(cuts), part)
            reply = yield from self._call(request, ACTION_RESPONSE, invoke)
            if reply[1] != ACTION_NEXT or number == len(cuts):
                return reply  # the answer, or a refusal before everything was said
            if int.from_bytes(reply[3:7], "big") != number:
                raise MalformedApduError("the meter acknowledges another block of the ACTION")
        raise MalformedApduError("nothing to send in blocks")

    def _action_result(self, block: Block, invoke: int) -> Steps[bytes]:
        parts, total = [block.data], len(block.data)
        while not block.last:
            if total > self.limits.value_octets or not block.data:
                raise TooLargeError(f"a result is longer than {self.limits.value_octets} octets, or does not end")
            reply = yield from self._call(action_next(invoke, block.number), ACTION_RESPONSE, invoke)
            if reply[1] != BLOCK:
                parse_action(reply)
                raise MalformedApduError("the result of an ACTION ends in the midst of its blocks")
            following = parse_action_block(reply)
            if following.number != block.number + 1:
                raise MalformedApduError(f"block {following.number} instead of {block.number + 1}")
            block = following
            parts.append(block.data)
            total += len(block.data)
        return b"".join(parts)

    # --- one request, one reply ----------------------------------------------------------------------------------

    def _next_invoke(self) -> int:
        self._invoke = (self._invoke + 1) & 0x0F
        return _HIGH_PRIORITY_CONFIRMED | self._invoke

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

    @property
    def _cut_octets(self) -> int:
        """Octets of a value that go into one block of SET or ACTION."""
        return max(16, self._room - _BLOCK_OCTETS)

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
                if reply[0] in (DATA_NOTIFICATION, EVENT_NOTIFICATION):
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
                received = yield WAIT
        finally:
            if blocks:
                self.counters.repeated_blocks += blocks.repeated

    def _plain(self, received: bytes) -> bytes:
        if not received:
            raise MalformedApduError("empty APDU")
        # An exception-response is never ciphered; it decides nothing but that the request failed.
        if self.ciphering is None or received[0] == EXCEPTION_RESPONSE:
            return received
        if received[0] in (DATA_NOTIFICATION, EVENT_NOTIFICATION):
            return received
        return self.ciphering.unprotect(received)


def _raise_if_general(refusal: ServiceError) -> None:
    """Raises a refusal that is not about the one request but about the association."""
    if refusal.service_error in {DECIPHERING_ERROR, INVOCATION_COUNTER_ERROR}:
        raise refusal
