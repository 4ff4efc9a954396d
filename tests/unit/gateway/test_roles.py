"""Roles, where they count, which of them nobody has together, and the user file while the gateway runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from peers.opcua.certificates import application
from peers.waiting import until
from pydantic import ValidationError

from address_space.ports import AuditRecord, Caller, Right
from twin_gateway.security.policy import UserPolicy
from twin_gateway.security.roles import ROLE_RIGHTS
from twin_gateway.security.users import (
    Grant,
    User,
    UsersError,
    certificate_users,
    load_users,
    save_users,
    without_last_administrator,
)

PHC = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"
EVERY = "dso1/north/PS01/MV1/F05"


def caller(user: str, *roles: str) -> Caller:
    return Caller(user, frozenset(roles))


@pytest.mark.parametrize(
    ("role", "rights"),
    [
        ("Observer", {"browse", "read"}),
        ("Operator", {"browse", "read", "operate"}),
        ("Supervisor", {"browse", "read", "operate", "supervise"}),
        ("Engineer", {"browse", "read", "configure"}),
        ("Installer", {"browse", "read", "commission"}),
        ("SecurityAdmin", {"administer"}),
        ("RbacManager", set()),
        ("SecAuditor", {"audit"}),
        ("ConfigureAdmin", set()),
    ],
)
def test_a_role_has_its_rights_and_no_more(role: str, rights: set[str]) -> None:
    policy = UserPolicy({"anna": User(password=PHC, roles=(role,))})
    assert {str(right) for right in Right if policy.permits(caller("anna", role), right, EVERY)} == rights
    policy.close()


def test_every_role_of_the_table_is_tested() -> None:
    assert len(ROLE_RIGHTS) == 9


def test_each_role_counts_in_its_own_areas() -> None:
    policy = UserPolicy(
        {"anna": User(password=PHC, roles=("Observer",), grants=(Grant(role="Operator", areas=("dso1/south",)),))}
    )
    anna = caller("anna", "Observer", "Operator")
    assert policy.permits(anna, Right.READ, "dso1/north")
    assert not policy.permits(anna, Right.OPERATE, "dso1/north")
    assert policy.permits(anna, Right.OPERATE, "dso1/south/PS02")
    assert not policy.permits(anna, Right.OPERATE, "dso1/southern")
    assert not policy.permits(anna, Right.OPERATE, "")
    policy.close()


@pytest.mark.parametrize("other", ["Operator", "Supervisor", "Engineer"])
def test_a_security_administrator_does_not_run_the_process(other: str) -> None:
    with pytest.raises(ValidationError, match="not given together"):
        User(password=PHC, roles=("SecurityAdmin", other))
    with pytest.raises(ValidationError, match="not given together"):
        User(password=PHC, roles=("SecurityAdmin",), grants=(Grant(role=other, areas=("dso1",)),))


def test_a_user_without_a_role_or_without_a_way_in_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least one role"):
        User(password=PHC)
    with pytest.raises(ValidationError, match="password or a certificate"):
        User(roles=("Observer",))


def test_the_last_security_administrator_is_noticed() -> None:
    admin, other = User(password=PHC, roles=("SecurityAdmin",)), User(password=PHC, roles=("Observer",))
    assert without_last_administrator({"sec": admin, "otto": other}, {"otto": other})
    assert without_last_administrator({"sec": admin}, {"sec": other})
    assert not without_last_administrator({"sec": admin, "sec2": admin}, {"sec2": admin})
    assert not without_last_administrator({"otto": other}, {})


async def test_a_certificate_is_that_of_its_user_only(tmp_path: Path) -> None:
    anna, otto = application("anna"), application("otto")
    anna.save_user(tmp_path, "anna")
    policy = UserPolicy({"anna": User(certificates=("anna.der",), roles=("Observer",))}, path=tmp_path / "users.yaml")
    known = await policy.authenticate_certificate(anna.der, "10.0.0.1:1")
    assert known is not None
    assert (known.user, known.roles) == ("anna", frozenset({"Observer"}))
    assert await policy.authenticate_certificate(otto.der, "10.0.0.1:1") is None
    assert await policy.authenticate("anna", "anything", "10.0.0.1:1") is None
    policy.close()


def test_two_users_do_not_share_a_certificate(tmp_path: Path) -> None:
    application("anna").save_user(tmp_path, "anna")
    one = User(certificates=("anna.der",), roles=("Observer",))
    with pytest.raises(UsersError, match="the same certificate"):
        certificate_users({"anna": one, "otto": one}, tmp_path)
    with pytest.raises(UsersError, match="cannot be read"):
        certificate_users({"anna": User(certificates=("none.der",), roles=("Observer",))}, tmp_path)


async def test_the_user_file_is_followed_also_when_the_audit_journal_is_in_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        async def append(self, record: AuditRecord) -> None:
            raise OSError("disk full")

    monkeypatch.setattr("twin_gateway.security.policy._LOOK_SECONDS", 0.01)
    path = tmp_path / "users.yaml"
    save_users(path, {"anna": User(password=PHC, roles=("Operator",))})
    policy = UserPolicy(load_users(path), path=path, audit=Full())
    watching = asyncio.create_task(policy.watch())
    try:
        await asyncio.sleep(0.1)
        for name in ("otto", "olga"):
            save_users(path, {name: User(password=PHC, roles=("Operator",))})
            someone = caller(name, "Operator")
            await until(lambda someone=someone: policy.permits(someone, Right.OPERATE, EVERY), 5)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        policy.close()


async def test_a_changed_user_file_counts_without_a_restart_and_one_with_errors_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    save_users(path, {"anna": User(password=PHC, roles=("Operator",))})
    policy = UserPolicy(load_users(path), path=path)
    watching = asyncio.create_task(policy.watch())
    anna, otto = caller("anna", "Operator"), caller("otto", "Operator")
    try:
        await asyncio.sleep(0.1)
        save_users(path, {"otto": User(password=PHC, roles=("Operator",))})
        await until(lambda: policy.permits(otto, Right.OPERATE, EVERY), 5)
        assert not policy.permits(anna, Right.READ, EVERY)
        path.write_text("users: [")
        await asyncio.sleep(1.2)
        assert policy.permits(otto, Right.OPERATE, EVERY)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        policy.close()
