"""Commands that never reach the desk: refused with the name of their gate, and in the audit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asyncua import Client, ua
from peers.opcua.rig import CONTROL, Rig

from address_space import clock
from address_space.addcause import AddCause
from address_space.quality import StatusCode

pytestmark = pytest.mark.asyncio(loop_scope="module")


def order(name: str, value: Any = 2) -> list[ua.Variant]:
    flags = [ua.Variant(flag, ua.VariantType.Boolean) for flag in (False, True, True)]
    texts = [ua.Variant("", ua.VariantType.String) for _ in range(2)]
    kind = ua.VariantType.String if isinstance(value, str) else ua.VariantType.Int32
    return [ua.Variant(name, ua.VariantType.String), ua.Variant(value, kind), *flags, *texts]


async def call(rig: Rig, user: str, arguments: list[ua.Variant]) -> ua.CallMethodResult:
    client = Client(rig.url)
    if user:
        client.set_user(user)
        client.set_password(f"{'o' if user == 'olga' else 'w'}-secret")
    async with client:
        request = ua.CallMethodRequest(ua.NodeId(CONTROL, 2), ua.NodeId(f"{CONTROL}#Operate", 2), arguments)
        [result] = await client.uaclient.call([request])
    return result


@pytest.mark.parametrize(
    ("user", "name", "value", "gate", "status"),
    [
        ("otto", "Pos", 2, "role", StatusCode.BadUserAccessDenied),
        ("", "Pos", 2, "role", StatusCode.BadUserAccessDenied),
        ("olga", "Nothing", 2, "binding", StatusCode.BadInvalidArgument),
        ("olga", "Pos", "on", "value", StatusCode.BadInvalidArgument),
    ],
)
async def test_a_command_that_does_not_reach_the_desk_names_its_gate_and_is_audited(
    rig: Rig, user: str, name: str, value: Any, gate: str, status: StatusCode
) -> None:
    rig.desk.commands.clear()
    rig.audit.records.clear()
    result = await call(rig, user, order(name, value))
    _command_id, cause, named, text = (each.Value for each in result.OutputArguments)
    assert (result.StatusCode.value, named) == (status, gate)
    assert text
    assert rig.desk.commands == []
    [record] = [each for each in rig.audit.records if each.kind.startswith("command")]
    assert (record.kind, record.user, record.address) == ("command.operate.outcome", user, f"{CONTROL}/{name}")
    assert (record.status, record.details["gate"], record.details["sent"]) == (status, gate, False)
    assert (cause == AddCause.NO_ACCESS_AUTHORITY) is (gate == "role")


async def test_a_command_that_was_held_up_under_way_says_how_old_it_is(rig: Rig) -> None:
    rig.desk.commands.clear()
    client = Client(rig.url)
    client.set_user("olga")
    client.set_password("o-secret")
    request = ua.CallMethodRequest(ua.NodeId(CONTROL, 2), ua.NodeId(f"{CONTROL}#Operate", 2), order("Pos"))
    async with client:
        protocol = client.uaclient.protocol
        fill = protocol._setup_request_header

        def held_up(header: ua.RequestHeader, *arguments: Any) -> None:
            fill(header, *arguments)
            header.Timestamp -= timedelta(seconds=5)

        await client.uaclient.call([request])
        protocol._setup_request_header = held_up
        await client.uaclient.call([request])
    fresh, old = ((clock.now() - command.issued_at) / clock.TICKS_PER_SECOND for command, _ in rig.desk.commands)
    assert fresh < 2
    # Against the quickest request so far, which took a moment too.
    assert 4.5 < old < 7
