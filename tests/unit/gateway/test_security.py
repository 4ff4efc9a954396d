"""Users, passwords and the access policy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from address_space.ports import Caller, Right
from twin_gateway.security.passwords import decoy_hash, hash_password, verify_password
from twin_gateway.security.policy import UserPolicy
from twin_gateway.security.users import User, UsersError, load_users, save_users


@pytest.fixture(scope="module")
def phc() -> str:
    return hash_password("correct horse")


def test_a_password_belongs_to_its_own_hash_only(phc: str) -> None:
    assert phc.startswith("$argon2id$")
    assert verify_password("correct horse", phc)
    assert not verify_password("correct house", phc)
    assert not verify_password("", phc)
    assert not verify_password("x" * 5000, phc)
    assert hash_password("correct horse") != phc


def test_a_decoy_costs_as_much_as_a_real_hash_and_nobody_has_its_password(phc: str) -> None:
    decoy = decoy_hash()
    assert decoy.split("$")[:4] == phc.split("$")[:4]
    assert len(decoy) == len(phc)
    assert not verify_password("correct horse", decoy)


def test_the_user_file_is_private_and_comes_back_as_written(tmp_path: Path, phc: str) -> None:
    path = tmp_path / "users.yaml"
    users = {"anna": User(password=phc, roles=("Operator",), areas=("dso1/north",))}
    save_users(path, users)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_users(path) == users
    path.chmod(0o644)
    with pytest.raises(UsersError, match="chmod 600"):
        load_users(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("users: {anna: {password: secret, roles: [Operator]}}", "users.anna.password"),
        ("users: {anna: {password: $argon2id$x, roles: [Boss]}}", "users.anna.roles"),
        ("users: {anna: {password: $argon2id$x, roles: [Operator], areas: ['a b']}}", "area 'a b'"),
        ("users: [", "users.yaml"),
    ],
)
def test_a_wrong_user_file_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "users.yaml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(UsersError, match=says):
        load_users(path)


def test_there_is_no_default_user(tmp_path: Path) -> None:
    with pytest.raises(UsersError, match="user add"):
        load_users(tmp_path / "users.yaml")


async def test_login_and_rights(phc: str) -> None:
    policy = UserPolicy(
        {
            "anna": User(password=phc, roles=("Operator",), areas=("dso1/north",)),
            "otto": User(password=phc, roles=("Observer",)),
        }
    )
    anna = await policy.authenticate("anna", "correct horse", "10.0.0.1:5")
    otto = await policy.authenticate("otto", "correct horse", "10.0.0.1:6")
    assert anna is not None
    assert otto is not None
    assert await policy.authenticate("nobody", "correct horse", "10.0.0.1:5") is None
    assert policy.permits(anna, Right.OPERATE, "dso1/north/PS01")
    assert not policy.permits(anna, Right.OPERATE, "dso1/northern/PS01")
    assert not policy.permits(anna, Right.READ, "dso1/south")
    assert policy.permits(anna, Right.BROWSE, "dso1")
    assert policy.permits(otto, Right.READ, "dso1/south")
    assert not policy.permits(otto, Right.OPERATE, "dso1/south")
    assert not policy.permits(Caller("ghost", frozenset({"Operator"})), Right.READ, "dso1")
    policy.close()


async def test_guessing_is_slowed_down_for_that_client_only(phc: str) -> None:
    policy = UserPolicy({"anna": User(password=phc, roles=("Operator",))})
    for _ in range(5):
        assert await policy.authenticate("anna", "guess", "10.0.0.9:1") is None
    assert await policy.authenticate("anna", "correct horse", "10.0.0.9:2") is None
    assert await policy.authenticate("anna", "correct horse", "10.0.0.8:1") is not None
    policy.close()


@pytest.mark.parametrize(
    ("client", "allowed"),
    [("127.0.0.1:4000", True), ("[::1]:4000", True), ("10.0.0.1:4000", False), ("elsewhere", False)],
)
def test_anonymous_clients_observe_on_this_machine_only_and_only_when_configured(client: str, allowed: bool) -> None:
    policy = UserPolicy({}, anonymous_observes=True)
    caller = policy.anonymous(client)
    assert (caller is not None) == allowed
    if caller is not None:
        assert policy.permits(caller, Right.READ, "dso1")
        assert not policy.permits(caller, Right.OPERATE, "dso1")
    closed = UserPolicy({})
    assert closed.anonymous(client) is None
    policy.close()
    closed.close()


def test_saving_never_leaves_half_a_file(tmp_path: Path, phc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "users.yaml"
    save_users(path, {"anna": User(password=phc, roles=("Operator",))})

    def no_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_disk)
    with pytest.raises(OSError, match="No space"):
        save_users(path, {})
    assert list(load_users(path)) == ["anna"]
