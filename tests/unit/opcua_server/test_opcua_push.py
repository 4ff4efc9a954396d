"""Certificate management by a GDS: transactions end with their session, go on without it, are bounded in time."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import ua
from cryptography.hazmat.primitives import serialization
from peers.opcua.certificates import application, key
from peers.opcua.rig import Audit, Rig

from address_space.opcua import push, push_files
from address_space.opcua.security import load_or_make
from address_space.opcua.trust_check import thumbprint

GROUP, KIND = ua.NodeId(ua.ObjectIds.ServerConfiguration_CertificateGroups_DefaultApplicationGroup), ua.NodeId(12560)


def somebody() -> Any:
    """A session of a security administrator."""
    caller = SimpleNamespace(user="sec", client="127.0.0.1:1")
    return _Session(caller)


class _Session:
    def __init__(self, caller: Any) -> None:
        self.caller, self.closed, self.on_close = caller, False, []

    def close(self) -> None:
        self.closed = True
        for tell in self.on_close:
            tell(True)


def pushed(rig: Rig) -> push.Push:
    """Push of the running server, registered anew where calls can be made without a client."""
    internal = rig.server.internal
    assert internal is not None
    return push.Push(internal)


async def call(of: push.Push, method: Any, session: Any, *arguments: Any) -> tuple[int, list[Any]]:
    status, outputs = await of.run(method, session, [SimpleNamespace(Value=each) for each in arguments])
    return status, [each.Value for each in outputs]


async def update(of: push.Push, session: Any, uri: str) -> Any:
    made = application("pushed gateway", uri=uri)
    secret = key("pushed gateway").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert (await call(of, of.update, session, GROUP, KIND, made.der, [], "PEM", secret))[0] == 0
    return made.certificate


async def test_a_certificate_that_waits_ends_with_its_session(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        of, first, second = pushed(rig), somebody(), somebody()
        await update(of, first, rig.server.application_uri)
        made = application("pushed gateway", uri=rig.server.application_uri)
        arguments = (GROUP, KIND, made.der, [], "", None)
        assert (await call(of, of.update, second, *arguments))[0] == ua.StatusCodes.BadTransactionPending
        first.close()
        assert of._pending is None
        assert (await call(of, of.update, second, *arguments))[0] == ua.StatusCodes.BadSecurityChecksFailed


async def test_changes_that_are_applied_are_audited_also_when_the_client_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Rig(tmp_path) as rig:
        of, session, go_on = pushed(rig), somebody(), threading.Event()
        made = await update(of, session, rig.server.application_uri)
        install = push.install
        monkeypatch.setattr(push, "install", lambda *all_of_it: (go_on.wait(10), install(*all_of_it)))
        asked = asyncio.create_task(call(of, of.apply, session))
        await asyncio.sleep(0.05)
        asked.cancel()
        session.close()
        go_on.set()
        await asyncio.gather(asked, return_exceptions=True)
        async with asyncio.timeout(10):
            while rig.server.identity.certificate != made:
                await asyncio.sleep(0.01)
        audit: Audit = rig.audit
        assert any(thumbprint(made) in each.text for each in audit.records if each.kind == "certificate.updated")
        assert of._pending is None
    identity = load_or_make(tmp_path / "pki", rig.server.application_uri, "twin-gateway", ())
    assert identity.certificate == made


async def test_a_certificate_that_cannot_be_written_waits_on_and_the_former_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Rig(tmp_path) as rig:
        of, session = pushed(rig), somebody()
        made = await update(of, session, rig.server.application_uri)
        former = rig.server.identity

        def full(*_: Any) -> None:
            raise OSError("disk full")

        with monkeypatch.context() as patched:
            patched.setattr(push, "install", full)
            assert (await call(of, of.apply, session))[0] == ua.StatusCodes.BadResourceUnavailable
        assert rig.server.identity is former
        assert (await call(of, of.apply, session))[0] == 0
        assert rig.server.identity.certificate == made


async def test_a_file_that_nobody_uses_is_closed_after_the_activity_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Rig(tmp_path) as rig:
        of, idle, other = pushed(rig), somebody(), somebody()
        _, [number] = await call(of, of.file.open, idle, 6)
        assert (await call(of, of.file.open, other, 1))[0] == ua.StatusCodes.BadNotReadable
        later = push_files.time.monotonic() + push_files.ACTIVITY_SECONDS + 1
        monkeypatch.setattr(push_files, "time", SimpleNamespace(monotonic=lambda: later))
        assert (await call(of, of.file.open, other, 1))[0] == 0
        assert (await call(of, of.file.write, idle, number, b"x"))[0] == ua.StatusCodes.BadInvalidArgument


async def test_open_files_are_bounded_and_end_with_their_session(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        of, session = pushed(rig), somebody()
        for _ in range(push_files.MOST_OPEN):
            assert (await call(of, of.file.open, session, 1))[0] == 0
        assert (await call(of, of.file.open, session, 1))[0] == ua.StatusCodes.BadResourceUnavailable
        session.close()
        assert (await call(of, of.file.open, somebody(), 6))[0] == 0


async def test_what_is_written_is_bounded(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        of, session = pushed(rig), somebody()
        _, [number] = await call(of, of.file.open, session, 6)
        part = bytes(rig.server.settings.limits.max_trust_list // 2 + 1)
        assert (await call(of, of.file.write, session, number, part))[0] == 0
        answer = await call(of, of.file.write, session, number, part)
        assert answer[0] == ua.StatusCodes.BadEncodingLimitsExceeded
