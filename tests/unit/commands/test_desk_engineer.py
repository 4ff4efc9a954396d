"""Engineers give test commands to devices in test mode, and no others unless they are operators too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.commands.test_desk import NAMES, Rig, build, order

from address_space.ports import Caller, Outcome, Right
from address_space.quality import Quality
from twin_gateway.commands.gates import GateReport, check
from twin_gateway.security.roles import ROLE_RIGHTS

IN_SERVICE, IN_TEST = 1, 3
TESTED = int(Quality.TEST)


class Roles:
    """Rights of the roles, everywhere."""

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return any(right in ROLE_RIGHTS[role] for role in caller.roles)


def whoever(*roles: str) -> Caller:
    return Caller("erik", frozenset(roles), "127.0.0.1:5", "s1")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = await build(tmp_path, {"model": "direct-normal"})
    made.desk._policy = Roles()  # type: ignore[assignment]  # the only part of a policy that the desk asks
    yield made
    await made.audit.close()


def put_in_mode(rig: Rig, mode: int) -> None:
    quality = TESTED if mode == IN_TEST else 0
    for name, value in zip(NAMES, (1, 0, 1, 1, mode, 1), strict=True):
        rig.put(name, value, quality)


async def tried(rig: Rig, *roles: str, **changes: Any) -> Outcome:
    return await rig.operate(True, whoever(*roles), **changes)


async def test_an_engineer_tests_a_command_while_the_device_shows_test_mode(rig: Rig) -> None:
    put_in_mode(rig, IN_TEST)
    assert (await tried(rig, "Engineer", test=True)).good
    assert [command.test for command in rig.device.got] == [True]


@pytest.mark.parametrize(("mode", "test"), [(IN_TEST, False), (IN_SERVICE, True), (IN_SERVICE, False)])
async def test_an_engineer_gives_no_other_command(rig: Rig, mode: int, test: bool) -> None:
    put_in_mode(rig, mode)
    refused = await tried(rig, "Engineer", test=test)
    assert refused.gate == "role"
    assert ("test it only while its Beh shows test mode" in refused.text) is test
    assert rig.device.got == []


async def test_a_mode_that_is_not_known_is_no_test_mode(rig: Rig) -> None:
    put_in_mode(rig, IN_TEST)
    rig.put("QA1/CSWI1/Beh", IN_TEST, int(Quality.INVALID))
    assert (await tried(rig, "Engineer", test=True)).gate == "role"


async def test_without_a_mapped_mode_an_engineer_tests_nothing(rig: Rig) -> None:
    target = rig.desk.target(order().address)
    assert target is not None
    report: GateReport = check(
        rig.table, rig.desk._policy, replace(target, mode=()), order(True, test=True), whoever("Engineer")
    )
    assert report.refusal is not None
    assert report.refusal.gate == "role"


@pytest.mark.parametrize("role", ["Observer", "Installer", "SecurityAdmin"])
async def test_nobody_else_tests_without_being_an_operator(rig: Rig, role: str) -> None:
    put_in_mode(rig, IN_TEST)
    assert (await tried(rig, role, test=True)).gate == "role"
    assert (await tried(rig, role, "Operator", test=True)).good


async def test_a_test_command_to_open_is_no_emergency(rig: Rig) -> None:
    put_in_mode(rig, IN_TEST)
    rig.put("QA1/CSWI1/Pos", 2, int(Quality.INVALID))
    assert (await rig.operate(False, whoever("Operator"), test=True)).gate == "quality"


async def test_a_selection_for_a_test_is_given_back_by_a_test_command(tmp_path: Path) -> None:
    rig = await build(tmp_path, {"model": "sbo-enhanced"})
    try:
        rig.desk._policy = Roles()  # type: ignore[assignment]  # as above
        put_in_mode(rig, IN_TEST)
        assert (await rig.desk.select(order(True, test=True), whoever("Engineer"))).good
        assert (await rig.desk.cancel(order(None), whoever("Operator"))).good
        assert [command.test for command in rig.device.got] == [True, True]
        assert (await rig.desk.cancel(order(None), whoever("Engineer"))).gate == "role", "nothing is selected"
    finally:
        await rig.audit.close()
