"""Validation of certificates, in the order of Part 4, 6.1.3."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from peers.opcua.certificates import Pair, application, authority, key, revocations

from address_space.opcua import trust_check as checks
from address_space.opcua.trust_check import Finding, TrustList, split_chain, validate

NOW = datetime.datetime.now(datetime.UTC)


def judged(*chain: Pair, lists: TrustList | None = None, **how: bool) -> Finding:
    return validate([each.certificate for each in chain], lists or TrustList(), NOW, **how)


def trusting(*pairs: Pair, issuers: tuple[Pair, ...] = (), crls: tuple[x509.CertificateRevocationList, ...] = ()):
    return TrustList(tuple(each.certificate for each in pairs), tuple(each.certificate for each in issuers), crls)


@pytest.fixture(scope="module")
def root() -> Pair:
    return authority("root")


def test_a_certificate_in_the_trust_list_is_good() -> None:
    peer = application()
    assert judged(peer, lists=trusting(peer)).status == checks.GOOD


def test_a_certificate_in_no_list_is_untrusted_and_the_peer_does_not_learn_it() -> None:
    finding = judged(application())
    assert finding.status == checks.UNTRUSTED
    assert finding.told == checks.SECURITY_CHECKS_FAILED


def test_a_certificate_of_a_trusted_authority_with_a_revocation_list_is_good(root: Pair) -> None:
    lists = trusting(root, crls=(revocations(root),))
    assert judged(application(issuer=root), lists=lists).status == checks.GOOD


def test_an_authority_that_only_helps_with_chains_makes_nothing_trusted(root: Pair) -> None:
    peer = application(issuer=root)
    lists = trusting(issuers=(root,), crls=(revocations(root),))
    assert judged(peer, lists=lists).status == checks.UNTRUSTED
    assert judged(peer, lists=trusting(peer, issuers=(root,), crls=(revocations(root),))).status == checks.GOOD


def test_a_chain_sent_by_the_peer_leads_to_a_trusted_root(root: Pair) -> None:
    below = authority("below", issuer=root)
    peer = application(issuer=below)
    lists = trusting(root, crls=(revocations(root), revocations(below)))
    assert judged(peer, below, lists=lists).status == checks.GOOD
    assert judged(peer, lists=lists).status == checks.CHAIN_INCOMPLETE
    assert judged(peer, lists=lists).told == checks.SECURITY_CHECKS_FAILED


def test_a_signature_of_another_key_is_found(root: Pair) -> None:
    impostor = Pair(authority("root").certificate, key("impostor"))
    peer = application(issuer=impostor)
    finding = judged(peer, lists=trusting(root, crls=(revocations(root),)))
    assert finding.status == checks.INVALID
    assert finding.told == checks.SECURITY_CHECKS_FAILED


def test_a_short_key_is_against_the_policies() -> None:
    peer = application("short", bits=1024)
    finding = judged(peer, lists=trusting(peer))
    assert (finding.status, finding.told) == (checks.POLICY_CHECK_FAILED, checks.SECURITY_CHECKS_FAILED)


def test_a_hash_weaker_than_sha256_is_against_the_policies() -> None:
    peer = application(digest=hashes.SHA224())
    assert judged(peer, lists=trusting(peer)).status == checks.POLICY_CHECK_FAILED


@pytest.mark.parametrize("days", [(-10.0, -1.0), (1.0, 10.0)])
def test_a_trusted_certificate_outside_its_time_is_told_so(days: tuple[float, float]) -> None:
    peer = application(days=days)
    finding = judged(peer, lists=trusting(peer))
    assert (finding.status, finding.told) == (checks.TIME_INVALID, checks.TIME_INVALID)


def test_an_untrusted_certificate_outside_its_time_learns_nothing() -> None:
    assert judged(application(days=(-10, -1))).told == checks.SECURITY_CHECKS_FAILED


def test_an_authority_outside_its_time() -> None:
    old = authority("old", days=(-10, -1))
    lists = trusting(old, crls=(revocations(old),))
    assert judged(application(issuer=old), lists=lists).status == checks.ISSUER_TIME_INVALID


def test_a_certificate_for_other_uses() -> None:
    for peer in (application(usage=False), application(client=False)):
        assert judged(peer, lists=trusting(peer)).status == checks.USE_NOT_ALLOWED


def test_a_certificate_that_may_not_sign_others() -> None:
    other = application("no authority")
    peer = application(issuer=other)
    assert judged(peer, lists=trusting(other, crls=(revocations(other),))).status == checks.ISSUER_USE_NOT_ALLOWED


def test_without_a_revocation_list_of_its_authority_nothing_is_known(root: Pair) -> None:
    peer = application(issuer=root)
    finding = judged(peer, lists=trusting(root))
    assert (finding.status, finding.told) == (checks.REVOCATION_UNKNOWN, checks.REVOCATION_UNKNOWN)


def test_an_outdated_revocation_list_counts_as_none(root: Pair) -> None:
    lists = trusting(root, crls=(revocations(root, days=(-10, -1)),))
    assert judged(application(issuer=root), lists=lists).status == checks.REVOCATION_UNKNOWN


def test_a_revocation_list_signed_by_somebody_else_counts_as_none(root: Pair) -> None:
    forged = revocations(Pair(root.certificate, key("impostor")))
    assert judged(application(issuer=root), lists=trusting(root, crls=(forged,))).status == checks.REVOCATION_UNKNOWN


def test_a_revoked_certificate_learns_nothing(root: Pair) -> None:
    peer = application(issuer=root)
    finding = judged(peer, lists=trusting(root, crls=(revocations(root, peer),)))
    assert (finding.status, finding.told) == (checks.REVOKED, checks.SECURITY_CHECKS_FAILED)


def test_a_certificate_of_a_revoked_authority(root: Pair) -> None:
    below = authority("below", issuer=root)
    lists = trusting(root, issuers=(below,), crls=(revocations(root, below), revocations(below)))
    assert judged(application(issuer=below), lists=lists).status == checks.ISSUER_REVOKED


def test_an_authority_below_another_without_its_revocation_list(root: Pair) -> None:
    below = authority("below", issuer=root)
    lists = trusting(root, issuers=(below,), crls=(revocations(below),))
    finding = judged(application(issuer=below), lists=lists)
    assert (finding.status, finding.told) == (checks.ISSUER_REVOCATION_UNKNOWN, checks.SECURITY_CHECKS_FAILED)


def test_the_chain_is_built_before_anything_else_is_judged() -> None:
    peer = application("short", issuer=authority("unknown"), bits=1024, digest=hashes.SHA224())
    assert judged(peer, lists=trusting(peer)).status == checks.CHAIN_INCOMPLETE


def test_an_authority_with_more_authorities_below_than_it_may_have() -> None:
    root = authority("narrow root", path_length=0)
    below = authority("below", issuer=root)
    lists = trusting(root, crls=(revocations(root), revocations(below)))
    finding = judged(application(issuer=below), below, lists=lists)
    assert (finding.status, finding.subject) == (checks.ISSUER_USE_NOT_ALLOWED, "CN=narrow root")
    assert judged(application(issuer=root), lists=lists).status == checks.GOOD


def test_a_certificate_with_a_name_of_an_unknown_kind_is_invalid() -> None:
    peer = application(names=b"\x30\x04\xa3\x02\x05\x00")
    assert judged(peer, lists=trusting(peer)).status == checks.INVALID
    assert checks.application_uris(peer.certificate) == []


def test_trusting_any_client_still_looks_at_time_key_and_use() -> None:
    assert judged(application(), trust_any=True).status == checks.GOOD
    assert judged(application(days=(-10, -1)), trust_any=True).status == checks.TIME_INVALID
    assert judged(application("short", bits=1024), trust_any=True).status == checks.POLICY_CHECK_FAILED
    assert judged(application(usage=False), trust_any=True).status == checks.USE_NOT_ALLOWED


def test_a_chain_is_split_and_bounded() -> None:
    peer = application()
    assert len(split_chain(peer.der * 3)) == 3
    of_no_version = peer.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    for wrong in (b"", b"nothing", peer.der[:-1], peer.der * 9, peer.der + b"x", of_no_version):
        with pytest.raises(ValueError):
            split_chain(wrong)
