"""Damaged requests inside a good session: each is answered or ends its connection, none is an error of ours."""

from __future__ import annotations

import asyncio
import logging
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.ua.ua_binary import struct_to_binary
from peers.opcua.rig import BAY, CONTROL, POSITION, Rig

pytestmark = pytest.mark.asyncio(loop_scope="module")


def requests(token: ua.NodeId) -> list[bytes]:
    """One well-formed request of each service."""
    node = ua.NodeId(POSITION, 2)
    read = ua.ReadRequest()
    read.Parameters.NodesToRead = [
        ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value),
        ua.ReadValueId(
            NodeId=ua.NodeId(f"{POSITION}#EnumValues", 2), AttributeId=ua.AttributeIds.Value, IndexRange="0:1"
        ),
    ]
    browse = ua.BrowseRequest()
    browse.Parameters.NodesToBrowse = [ua.BrowseDescription(NodeId=ua.NodeId(BAY, 2), ResultMask=63)]
    browse.Parameters.RequestedMaxReferencesPerNode = 1
    following = ua.BrowseNextRequest()
    following.Parameters.ContinuationPoints = [bytes(16)]
    translate = ua.TranslateBrowsePathsToNodeIdsRequest()
    element = ua.RelativePathElement(ua.NodeId(33), False, True, ua.QualifiedName("Grid", 2))
    translate.Parameters.BrowsePaths = [ua.BrowsePath(ua.NodeId(85), ua.RelativePath([element]))]
    write = ua.WriteRequest()
    value = ua.DataValue(ua.Variant(1, ua.VariantType.Int32))
    write.Parameters.NodesToWrite = [ua.WriteValue(NodeId=node, AttributeId=ua.AttributeIds.Value, Value=value)]
    call = ua.CallRequest()
    argument = ua.Variant("Pos", ua.VariantType.String)
    call.Parameters.MethodsToCall = [
        ua.CallMethodRequest(ua.NodeId(CONTROL, 2), ua.NodeId(f"{CONTROL}#Cancel", 2), [argument])
    ]
    register = ua.RegisterNodesRequest()
    register.Parameters.NodesToRegister = [node]
    endpoints = ua.GetEndpointsRequest()
    endpoints.Parameters.EndpointUrl = "opc.tcp://127.0.0.1"
    made: list[Any] = [read, browse, following, translate, write, call, register, endpoints, ua.FindServersRequest()]
    for each in made:
        each.RequestHeader.AuthenticationToken = token
    return [struct_to_binary(each) for each in made]


def damaged(body: bytes, rng: random.Random) -> bytes:
    octets = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(octets))
        kind = rng.randrange(4)
        if kind == 0:
            octets[place] = rng.randrange(256)
        elif kind == 1:
            octets[place : place + 4] = struct.pack("<I", rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000)))
        elif kind == 2:
            del octets[place : place + rng.randint(1, 8)]
        else:
            octets[place:place] = rng.randbytes(rng.randint(1, 8))
        octets = octets or bytearray(b"\0")
    return bytes(octets)


async def test_damaged_requests_never_fail_inside(pki: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "address_space")
    rng = random.Random(63353)
    async with Rig(pki) as rig:
        client: Client | None = None
        for _ in range(500):
            if client is None or client.uaclient.protocol.transport is None:
                client = Client(rig.url)
                client.set_user("olga")
                client.set_password("o-secret")
                await client.connect()
                bodies = requests(client.uaclient.protocol.authentication_token)
            connection, transport = client.uaclient.protocol._connection, client.uaclient.protocol.transport
            token = connection.security_token
            body = damaged(rng.choice(bodies), rng)
            connection._sequence_number += 1
            numbers = (token.ChannelId, token.TokenId, connection._sequence_number, 0)
            transport.write(struct.pack("<3scIIIII", b"MSG", b"F", 24 + len(body), *numbers) + body)
            await asyncio.sleep(0.001)
        client.disconnect_socket()
        async with Client(rig.url) as fresh:
            assert await fresh.get_node(f"ns=2;s={POSITION}").read_value() == 2
    assert [record.message for record in caplog.records if record.name.startswith("address_space")] == []
