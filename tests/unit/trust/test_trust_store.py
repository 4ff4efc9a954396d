"""The trust list folders: read when they change, bounded, written whole."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from peers.opcua.certificates import application, authority, revocations

from address_space.opcua.trust_check import fingerprint, thumbprint
from address_space.opcua.trust_store import TrustStore


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    made = TrustStore(tmp_path / "pki", most_rejected=3)
    made.make()
    return made


def test_the_folders_are_for_their_owner_only(store: TrustStore) -> None:
    names = {str(path.relative_to(store.directory)) for path in store.directory.rglob("*")}
    assert {"trusted/certs", "trusted/crl", "issuers/certs", "issuers/crl", "rejected"} <= names
    assert store.directory.stat().st_mode & 0o077 == 0


def test_a_file_that_somebody_puts_there_counts_at_once(store: TrustStore) -> None:
    assert store.lists().trusted == ()
    peer = application()
    (store.directory / "trusted/certs/anything.pem").write_bytes(
        peer.certificate.public_bytes(serialization.Encoding.PEM)
    )
    assert store.lists().trusted == (peer.certificate,)
    (store.directory / "trusted/certs/anything.pem").unlink()
    assert store.lists().trusted == ()


def test_a_file_that_is_no_certificate_is_told_and_does_not_hide_the_others(store: TrustStore) -> None:
    store.add("trusted", application().certificate)
    (store.directory / "trusted/certs/note.txt").write_text("no certificate")
    assert len(store.lists().trusted) == 1
    assert len(store.problems) == 1
    assert "note.txt" in store.problems[0]


def test_a_certificate_that_the_library_does_not_know_is_told_and_does_not_hide_the_others(store: TrustStore) -> None:
    good, odd = application("good"), application("odd").der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    store.add("trusted", good.certificate)
    (store.directory / "trusted" / "certs" / "odd.der").write_bytes(odd)
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(odd) + b"-----END CERTIFICATE-----\n"
    (store.directory / "trusted" / "certs" / "odd.pem").write_bytes(pem)
    assert store.lists().trusted == (good.certificate,)
    assert len(store.problems) == 2


def test_many_certificates_are_replaced_in_one_pass(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [application(f"client {number}", days=(-1, number + 1)).certificate for number in range(3)]
    for each in many:
        store.reject(each)
    reads: list[int] = []
    real = TrustStore.read
    monkeypatch.setattr(TrustStore, "read", lambda self, **how: (reads.append(1), real(self, **how))[1])
    store.replace("trusted", many, [])
    assert len(reads) == 2
    assert sorted(store.lists().trusted, key=str) == sorted(many, key=str)
    assert store.read().of("rejected") == []


def test_rejected_certificates_are_bounded_and_the_oldest_go(store: TrustStore) -> None:
    pairs = [application(uri=f"urn:{number}") for number in range(5)]
    for number, pair in enumerate(pairs):
        assert store.reject(pair.certificate)
        path = (
            store.directory
            / "rejected"
            / next(name for name in os.listdir(store.directory / "rejected") if thumbprint(pair.certificate) in name)
        )
        os.utime(path, (1_000_000 + number, 1_000_000 + number))
    kept = {each.certificate for each in store.read().of("rejected")}
    assert kept == {pair.certificate for pair in pairs[2:]}
    assert not store.reject(pairs[4].certificate)


def test_what_is_trusted_is_rejected_no_longer(store: TrustStore) -> None:
    peer = application().certificate
    store.reject(peer)
    store.add("trusted", peer)
    assert store.read().of("rejected") == []
    assert [each.certificate for each in store.read().of("trusted")] == [peer]


def test_a_newer_revocation_list_takes_the_place_of_the_older(store: TrustStore) -> None:
    root = authority()
    store.add_revocations("trusted", revocations(root))
    store.add_revocations("trusted", revocations(root, application(issuer=root)))
    [kept] = store.read().revocations
    assert len(kept.revocations) == 1


def test_a_certificate_is_found_by_thumbprint_fingerprint_and_name(store: TrustStore) -> None:
    peer = application("scada").certificate
    store.add("trusted", peer)
    for text in (thumbprint(peer)[:8], fingerprint(peer), thumbprint(peer).lower(), "scada"):
        assert [each.certificate for each in store.find(text)] == [peer]
    assert store.find("sca") == []
    assert store.find("FFFFFFFFFF") == []


def test_replacing_leaves_nothing_of_the_former_and_keeps_what_stays(store: TrustStore) -> None:
    first, second, third = (application(uri=f"urn:{number}").certificate for number in range(3))
    store.replace("trusted", [first, second], None)
    store.replace("trusted", [second, third], None)
    assert set(store.lists().trusted) == {second, third}
    store.replace("trusted", None, [])
    assert set(store.lists().trusted) == {second, third}
