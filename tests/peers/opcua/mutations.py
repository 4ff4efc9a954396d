"""Damaged OPC UA messages by a seed: well-formed requests of all services, and what can go wrong with them."""

from __future__ import annotations

import random
import struct
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from peers.opcua.rig import BAY, CONTROL, POSITION, POWER

_LENGTHS = (0, 1, 2, 255, 0xFFFF, 0x10000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)


def requests(token: bytes) -> list[bytes]:
    """A well-formed request of each service; the token is that of the session on the wire."""
    node, power = ua.NodeId(POSITION, 2), ua.NodeId(POWER, 2)
    values = ua.AttributeIds.Value
    read = ua.ReadRequest()
    read.Parameters.NodesToRead = [
        ua.ReadValueId(NodeId=node, AttributeId=values),
        ua.ReadValueId(NodeId=ua.NodeId(f"{POSITION}#EnumValues", 2), AttributeId=values, IndexRange="0:1"),
        ua.ReadValueId(NodeId=ua.NodeId(2258), AttributeId=values),
    ]
    browse = ua.BrowseRequest()
    browse.Parameters.NodesToBrowse = [ua.BrowseDescription(NodeId=ua.NodeId(BAY, 2), ResultMask=63)]
    browse.Parameters.RequestedMaxReferencesPerNode = 1
    following = ua.BrowseNextRequest()
    following.Parameters.ContinuationPoints = [bytes(16)]
    translate = ua.TranslateBrowsePathsToNodeIdsRequest()
    element = ua.RelativePathElement(ua.NodeId(33), False, True, ua.QualifiedName("Grid", 2))
    translate.Parameters.BrowsePaths = [ua.BrowsePath(ua.NodeId(85), ua.RelativePath([element, element]))]
    write = ua.WriteRequest()
    value = ua.DataValue(ua.Variant([1.0, 2.0], ua.VariantType.Double))
    write.Parameters.NodesToWrite = [ua.WriteValue(NodeId=node, AttributeId=values, Value=value)]
    call = ua.CallRequest()
    arguments = [ua.Variant("Pos", ua.VariantType.String), ua.Variant(True)]
    call.Parameters.MethodsToCall = [
        ua.CallMethodRequest(ua.NodeId(CONTROL, 2), ua.NodeId(f"{CONTROL}#Cancel", 2), arguments)
    ]
    register, unregister = ua.RegisterNodesRequest(), ua.UnregisterNodesRequest()
    register.Parameters.NodesToRegister = unregister.Parameters.NodesToUnregister = [node]
    create = ua.CreateMonitoredItemsRequest()
    create.Parameters.SubscriptionId = 1
    deadband = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, 1, 1.0)
    event = ua.EventFilter()
    operand = ua.SimpleAttributeOperand(ua.NodeId(2041), [ua.QualifiedName("Message")], values)
    event.SelectClauses = [operand]
    literal = ua.LiteralOperand(ua.Variant(500, ua.VariantType.UInt16))
    event.WhereClause.Elements = [
        ua.ContentFilterElement(ua.FilterOperator.And, [ua.ElementOperand(1), ua.ElementOperand(1)]),
        ua.ContentFilterElement(ua.FilterOperator.GreaterThan, [operand, literal]),
    ]
    for wanted, attribute, chosen in ((power, 13, deadband), (ua.NodeId(2253), 12, event), (node, 13, None)):
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor = ua.ReadValueId(NodeId=wanted, AttributeId=ua.AttributeIds(attribute))
        item.MonitoringMode = ua.MonitoringMode.Reporting
        item.RequestedParameters = ua.MonitoringParameters(1, 100.0, chosen, 10, True)
        create.Parameters.ItemsToCreate.append(item)
    modify = ua.ModifyMonitoredItemsRequest()
    modify.Parameters.SubscriptionId = 1
    modify.Parameters.ItemsToModify = [ua.MonitoredItemModifyRequest(1, ua.MonitoringParameters(1, 100.0, None, 10))]
    mode, triggering = ua.SetMonitoringModeRequest(), ua.SetTriggeringRequest()
    mode.Parameters.SubscriptionId = triggering.Parameters.SubscriptionId = 1
    mode.Parameters.MonitoredItemIds = triggering.Parameters.LinksToAdd = [1, 2]
    fewer = ua.DeleteMonitoredItemsRequest()
    fewer.Parameters.SubscriptionId, fewer.Parameters.MonitoredItemIds = 1, [1, 2]
    subscribe = ua.CreateSubscriptionRequest()
    subscribe.Parameters = ua.CreateSubscriptionParameters(500.0, 30, 10, 100, True, 1)
    change = ua.ModifySubscriptionRequest()
    change.Parameters = ua.ModifySubscriptionParameters(1, 500.0, 30, 10, 100, 1)
    publishing, transfer = ua.SetPublishingModeRequest(), ua.TransferSubscriptionsRequest()
    publishing.Parameters.SubscriptionIds = transfer.Parameters.SubscriptionIds = [1]
    publish, again, delete = ua.PublishRequest(), ua.RepublishRequest(), ua.DeleteSubscriptionsRequest()
    publish.Parameters.SubscriptionAcknowledgements = [ua.SubscriptionAcknowledgement(1, 1)]
    again.Parameters = ua.RepublishParameters(1, 1)
    delete.Parameters.SubscriptionIds = [1]
    history = ua.HistoryReadRequest()
    history.Parameters.HistoryReadDetails = ua.ReadRawModifiedDetails()
    history.Parameters.NodesToRead = [ua.HistoryReadValueId(NodeId=power)]
    update = ua.HistoryUpdateRequest()
    update.Parameters.HistoryUpdateDetails = [ua.UpdateDataDetails(NodeId=power, UpdateValues=[value])]
    endpoints = ua.GetEndpointsRequest()
    endpoints.Parameters.EndpointUrl = "opc.tcp://127.0.0.1"
    session, activate = ua.CreateSessionRequest(), ua.ActivateSessionRequest()
    activate.Parameters.UserIdentityToken = ua.UserNameIdentityToken(PolicyId="username", UserName="x", Password=b"y")
    nodes = ua.AddNodesRequest()
    nodes.Parameters.NodesToAdd = [ua.AddNodesItem()]
    made: list[Any] = [
        read, browse, following, translate, write, call, register, unregister, create, modify, mode, triggering,
        fewer, subscribe, change, publishing, transfer, publish, again, delete, history, update, endpoints, session,
        activate, nodes, ua.FindServersRequest(), ua.CancelRequest(), ua.QueryFirstRequest(), ua.QueryNextRequest(),
        ua.DeleteNodesRequest(), ua.AddReferencesRequest(),
    ]  # fmt: skip
    bodies = []
    for each in made:
        octets = struct_to_binary(each)
        # All requests begin with the type id (four octets) and an empty token.
        assert octets[4:6] == b"\0\0"
        bodies.append(octets[:4] + token + octets[6:])
    return bodies


def bombs(token: bytes) -> list[bytes]:
    """Requests that are short and mean much: deep nesting, counts without content, many empty things."""
    head = token + struct.pack("<qIIiI", 0, 1, 0, -1, 0)
    node = b"\0\x55"
    writing = b"\1\0\xa1\2" + head + b"\0\0\0" + struct.pack("<i", 1) + node + struct.pack("<Ii", 13, -1) + b"\1"
    extension = b"\1\0\x55\2\1"
    nested = b"\x07\1\0\0\0"
    for _ in range(2000):
        nested = b"\x16" + extension + struct.pack("<i", len(nested)) + nested
    reading = b"\1\0\x77\2" + head
    many = struct.pack("<i", 60_000)
    calling = b"\1\0\xc8\2" + head + b"\0\0\0" + struct.pack("<i", 1) + node * 2
    item = b"\1\0\xef\2" + head + b"\0\0\0" + struct.pack("<IIi", 1, 2, 1) + node + struct.pack("<Ii", 13, -1)
    item += b"\0\0\xff\xff\xff\xff" + struct.pack("<IId", 2, 1, 0.0)
    clauses = many + (b"\0\0" + struct.pack("<iIi", 0, 13, -1)) * 4000
    return [
        writing + b"\x18" * 60_000,
        writing + (b"\x98" + struct.pack("<i", 1)) * 12_000,
        writing + b"\x19" + b"\x40" * 60_000,
        writing + b"\x17" + b"\x01\x17" * 30_000,
        writing + nested[:60_000],
        writing + b"\x98" + many + b"\0" * 60_000,
        writing + b"\xc6" + many + bytes(4 * 10) + struct.pack("<iiii", 3, 1 << 20, 1 << 20, 1 << 20),
        writing + b"\x8b" + struct.pack("<i", 0x7FFF_FFFF) + bytes(100),
        writing + b"\x8c" + struct.pack("<i", 0x7FFF_FFFF) + bytes(100),
        reading + b"\0\0\0" + struct.pack("<dIi", 0.0, 2, 0x7FFF_FFFF) + bytes(100),
        reading + extension + struct.pack("<i", 60_000) + bytes(60_000),
        calling + many + b"\0" * 60_000,
        calling + many + b"\x18" * 60_000,
        item + b"\1\0\xd7\2\1" + struct.pack("<i", len(clauses)) + clauses,
        item + extension + struct.pack("<i", 50_000) + nested[:50_000],
        b"\1\0\x0f\2" + head + b"\0\0\0" + b"\0\0" + bytes(16) + struct.pack("<i", 3000)
        + (node + bytes(7) + struct.pack("<II", 0, 63)) * 3000,
        b"\1\0\x3a\3" + head + b"\0\0\0" + many + bytes(60_000),
        b"\2\0\0" + struct.pack("<I", 631) + b"\x05\1\0" + struct.pack("<i", 0x7FFF_FFFF),
    ]  # fmt: skip


def damaged(octets: bytes, rng: random.Random) -> bytes:
    """The same message with one to four things wrong."""
    made = bytearray(octets)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        size = len(made)
        place = rng.randrange(size) if size else 0
        kind = rng.randrange(9)
        if kind == 0:
            made[place : place + 1] = bytes((rng.randrange(256),))
        elif kind == 1 and size:
            made[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            made[place : place + 4] = struct.pack("<I", rng.choice(_LENGTHS))
        elif kind == 3:
            del made[place : place + rng.randint(1, 8)]
        elif kind == 4:
            made[place:place] = rng.randbytes(rng.randint(1, 8))
        elif kind == 5:
            del made[place:]
        elif kind == 6:
            made[2:4] = struct.pack("<H", rng.randrange(0x400))
        elif kind == 7:
            made[place : place + 8] = struct.pack("<d", rng.choice((float("nan"), float("inf"), -1.0, 1e308)))
        else:
            made += made[place : place + 64]
    return bytes(made)


def damaged_frame(frame: bytes, rng: random.Random) -> bytes:
    """A chunk with its headers wrong: type, chunk flag, size, channel, token, sequence number; or cut, or noise."""
    made = bytearray(frame)
    kind = rng.randrange(8)
    if kind == 0:
        made[0:3] = rng.choice((b"MSG", b"OPN", b"CLO", b"HEL", b"ACK", b"ERR", b"RHE", rng.randbytes(3)))
    elif kind == 1:
        made[3] = rng.choice((0x41, 0x43, 0x46, rng.randrange(256)))
    elif kind == 2:
        made[4:8] = struct.pack("<I", rng.choice((0, 7, 8, 12, 23, 24, len(made) - 1, *_LENGTHS)))
    elif kind == 3:
        made[8:12] = struct.pack("<I", rng.choice((0, *_LENGTHS)))
    elif kind == 4:
        made[12:16] = struct.pack("<I", rng.choice((0, *_LENGTHS)))
    elif kind == 5:
        made[16:20] = struct.pack("<I", rng.choice((0, *_LENGTHS)))
    elif kind == 6:
        del made[rng.randrange(len(made)) :]
    else:
        made = bytearray(rng.randbytes(rng.randint(1, 200)))
    return bytes(made)
