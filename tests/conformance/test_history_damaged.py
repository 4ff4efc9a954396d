"""HistoryRead requests with damaged details: each gets an answer, none is an error of the server."""

from __future__ import annotations

import random

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from conformance.history_asks import MINUTE, NO_STOCK, NOON, at_times, events, memory, processed, raw, request
from conformance.registry import check
from conformance.subject import BAY, Subject
from peers.opcua.wire_client import FaultError, WireClient


@check("Part 4 5.11.3", "Damaged HistoryRead requests are answered, never with BadInternalError", ours_only=NO_STOCK)
async def test_damaged_requests(wire: WireClient, subject: Subject, point: str) -> None:
    memory(subject).put(point, [NOON], [1.0])
    chance = random.Random(20)
    asked = [raw(0, MINUTE), processed("Average", 0, MINUTE, 1000), at_times(5), events(0, MINUTE)]
    bodies = []
    for details in asked:
        whole = request(details, BAY if isinstance(details, ua.ReadEventDetails) else point)
        bodies.append(struct_to_binary(whole.Parameters))
    answers = set()
    for _ in range(600):
        body = bytearray(chance.choice(bodies))
        for _ in range(chance.choice((1, 1, 2, 5))):
            body[chance.randrange(len(body))] = chance.choice((0, 1, 2, 127, 128, 255, chance.randrange(256)))
        if chance.random() < 0.2:
            del body[chance.randrange(len(body)) :]
        try:
            response = await wire.raw(664, bytes(body))
            answers |= {each.StatusCode.name for each in response.Results}
        except FaultError as fault:
            answers.add(fault.name)
    assert "BadInternalError" not in answers
    assert {"BadDecodingError", "BadHistoryOperationInvalid"} <= answers
