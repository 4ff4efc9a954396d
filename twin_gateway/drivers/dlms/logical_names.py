"""The client's side of an association with logical names: GET, SET and ACTION, whole and in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from twin_gateway.drivers.dlms.acse import LONG_NAMES, LONG_NAMES_CIPHERED, PROPOSED, Conformance
from twin_gateway.drivers.dlms.association import Association
from twin_gateway.drivers.dlms.axdr import Value, decode
from twin_gateway.drivers.dlms.block_transfer import Steps, cut
from twin_gateway.drivers.dlms.errors import (
    AccessError,
    DlmsError,
    MalformedApduError,
    NotNegotiatedError,
    TooLargeError,
)
from twin_gateway.drivers.dlms.obis import ASSOCIATION, ASSOCIATION_LN, Attribute
from twin_gateway.drivers.dlms.services import (
    ACTION_NEXT,
    ACTION_RESPONSE,
    BLOCK,
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
    parse_action,
    parse_action_block,
    parse_block,
    parse_get,
    parse_list,
    parse_set,
    parse_set_blocks,
    set_block,
    set_normal,
)

_BLOCK_OCTETS = 26
"""What SET and ACTION put around a block: service, attribute, number, length."""
_HIGH_PRIORITY_CONFIRMED = 0xC0


@dataclass(slots=True)
class LogicalNameAssociation(Association):
    """See Association."""

    _contexts: ClassVar[tuple[int, int]] = (LONG_NAMES, LONG_NAMES_CIPHERED)
    _can: ClassVar[Conformance] = PROPOSED
    _reading: ClassVar[Conformance] = Conformance.GET
    _selecting: ClassVar[Conformance] = Conformance.SELECTIVE_ACCESS
    _item_octets: ClassVar[int] = LIST_ITEM_OCTETS
    _invoke: int = 0

    def _give_proof(self, proof: bytes) -> Steps[Value]:
        # The reply of pass 4 is part of associating: no conformance is asked for.
        return (yield from self._action(Attribute(ASSOCIATION, ASSOCIATION_LN, 1), proof))

    def get(self, attribute: Attribute, selection: bytes = b"") -> Steps[Value]:
        """See Association.get."""
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
        """See Association.set."""
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
        """See Association.action."""
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

    def _next_invoke(self) -> int:
        self._invoke = (self._invoke + 1) & 0x0F
        return _HIGH_PRIORITY_CONFIRMED | self._invoke

    @property
    def _cut_octets(self) -> int:
        """Octets of a value that go into one block of SET or ACTION."""
        return max(16, self._room - _BLOCK_OCTETS)
