"""The server's certificate and key on disk: whole or not at all, for their owner only."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from peers.opcua.certificates import Pair, application, authority

from address_space.opcua import security
from address_space.opcua.security import install, load_or_make
from address_space.whole_files import write_whole

URI = "urn:host:twin-gateway"


def present(directory: Path) -> tuple[object, object, object]:
    identity = load_or_make(directory, URI, "twin-gateway", ())
    return identity.certificate, identity.key.public_key(), identity.issuers


def steps(monkeypatch: pytest.MonkeyPatch, most: int) -> list[str]:
    """The machine stops after so many changes of the disk."""
    done: list[str] = []

    def counted(name: str, real: object) -> object:
        def run(*arguments: object, **options: object) -> object:
            if len(done) >= most:
                raise KeyboardInterrupt
            done.append(name)
            return real(*arguments, **options)  # type: ignore[operator]  # whatever is counted

        return run

    monkeypatch.setattr(security, "write_whole", counted("write", write_whole))
    monkeypatch.setattr(Path, "rename", counted("rename", Path.rename))
    monkeypatch.setattr(Path, "unlink", counted("unlink", Path.unlink))
    monkeypatch.setattr(shutil, "rmtree", counted("rmtree", shutil.rmtree))
    return done


@pytest.mark.parametrize("most", range(13))
def test_an_identity_that_is_half_written_when_the_machine_stops_is_the_former_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    root = authority("plant root")
    former = application("former gateway", issuer=root, uri=URI)
    new = application("gateway", uri=URI)
    install(tmp_path, former.certificate, former.key, (root.certificate,))
    with monkeypatch.context() as patched:
        done = steps(patched, most)
        try:
            install(tmp_path, new.certificate, new.key)
        except KeyboardInterrupt:
            assert len(done) == most

    def of(pair: Pair, *issuers: Pair) -> tuple[object, object, object]:
        return pair.certificate, pair.key.public_key(), tuple(each.certificate for each in issuers)

    assert present(tmp_path) == (of(new) if "rename" in done else of(former, root))
    assert {each.name for each in (tmp_path / "own").iterdir()} <= {
        "certificate.der",
        "private_key.pem",
        "issuers.der",
        "former",
    }


def test_folders_and_files_of_the_identity_are_for_their_owner_only(tmp_path: Path) -> None:
    pki = tmp_path / "data" / "pki"
    load_or_make(pki, URI, "twin-gateway", ())
    install(pki, *_made())
    for path in (pki, *pki.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def _made() -> tuple[Any, Any]:
    pair = application("gateway", uri=URI)
    return pair.certificate, pair.key


def test_a_file_is_not_written_into_one_that_somebody_else_made(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"open to all")
    path.chmod(0o644)
    with path.open("rb") as reader:
        write_whole(path, b"secret")
        assert reader.read() == b"open to all"
    assert path.read_bytes() == b"secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
