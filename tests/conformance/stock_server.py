"""Stock asyncua with the address space of the conformance checks; told on standard input what values to write."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from asyncua import Server, ua, uamethod
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from conformance import subject
from peers.ports import free_port

from address_space.catalogue import ValueType
from address_space.table import PointTable

_TYPES = {
    ValueType.BOOLEAN: ua.VariantType.Boolean,
    ValueType.INT32: ua.VariantType.Int32,
    ValueType.UINT32: ua.VariantType.UInt32,
    ValueType.INT64: ua.VariantType.Int64,
    ValueType.DOUBLE: ua.VariantType.Double,
    ValueType.STRING: ua.VariantType.String,
}


class Users(UserManager):
    """The users of the checks; anonymous is one too."""

    def get_user(self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None) -> Any:
        if username is not None and subject.PASSWORDS.get(username) != password:
            return None
        return User(role=UserRole.Admin if username == "sara" else UserRole.User, name=username)


@uamethod
def double(parent: Any, factor: float, names: list[str]) -> float:
    """The method of the checks."""
    return 2 * factor


class Space:
    """The nodes of a point table, made with asyncua's own means."""

    def __init__(self, server: Any, table: PointTable) -> None:
        self.server, self.table = server, table
        self.nodes: dict[str, Any] = {}
        self.types: dict[str, Any] = {}

    async def build(self) -> None:
        """All places and points, the methods, the ranges."""
        root = await self.server.nodes.objects.add_object(ua.NodeId("#Grid", subject.NAMESPACE), "2:Grid")
        tree = self.table.tree
        for top in tree.roots():
            await self._add(root, top)
        bay = self.nodes[subject.METHODS_OBJECT]
        for name in ("Double", "Refused"):
            method = await bay.add_method(
                ua.NodeId(f"{subject.METHODS_OBJECT}#{name}", subject.NAMESPACE),
                f"2:{name}",
                double,
                [_argument("factor", 11, -1), _argument("names", 12, 1)] if name == "Double" else [],
                [_argument("result", 11, -1)] if name == "Double" else [],
            )
        hidden = self.nodes[subject.HIDDEN]
        await hidden.write_attribute(ua.AttributeIds.AccessLevel, ua.DataValue(ua.Variant(0, ua.VariantType.Byte)))
        await hidden.write_attribute(ua.AttributeIds.UserAccessLevel, ua.DataValue(ua.Variant(0, ua.VariantType.Byte)))
        await method.write_attribute(ua.AttributeIds.Executable, ua.DataValue(ua.Variant(False)))
        await method.write_attribute(ua.AttributeIds.UserExecutable, ua.DataValue(ua.Variant(False)))

    async def _add(self, parent: Any, number: int) -> None:
        tree, table = self.table.tree, self.table
        address = tree.address(number)
        node_id, name = ua.NodeId(address, subject.NAMESPACE), f"{subject.NAMESPACE}:{tree.name(number)}"
        row = int(tree.row[number])
        if row < 0:
            made = await parent.add_object(node_id, name)
        else:
            profile, sample = table.profile(row), table.sample(row)
            kind = _TYPES[ValueType(profile.value_type)]
            value = sample.value if sample.value is not None else {ua.VariantType.String: ""}.get(kind, 0)
            if kind == ua.VariantType.Boolean:
                value = bool(value)
            made = await parent.add_variable(node_id, name, ua.Variant(value, kind))
            self.types[address] = kind
            if profile.low is not None:
                limits = ua.Range(float(profile.low), float(profile.high or 0))
                await made.add_property(ua.NodeId(f"{address}#EURange", subject.NAMESPACE), "0:EURange", limits)
        self.nodes[address] = made
        for child in tree.children(number):
            await self._add(made, child)

    async def write(self, address: str, value: float, status: int) -> None:
        """A value as from the field."""
        kind = self.types[address]
        variant = ua.Variant(bool(value) if kind == ua.VariantType.Boolean else value, kind)
        await self.nodes[address].write_value(
            ua.DataValue(variant, ua.StatusCode(status), SourceTimestamp=datetime.now(UTC))
        )


def _argument(name: str, data_type: int, rank: int) -> Any:
    return ua.Argument(Name=name, DataType=ua.NodeId(data_type), ValueRank=rank)


async def main() -> None:
    """Serve until standard input ends."""
    logging.disable(logging.CRITICAL)
    server: Any = Server(user_manager=Users())
    await server.init()
    port = free_port()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("https://example.org")
    space = Space(server, subject.table())
    await space.build()
    async with server:
        print(json.dumps({"port": port}), flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            order = json.loads(line)
            for address, value in order["write"]:
                await space.write(address, value, order["status"])
            print("{}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
