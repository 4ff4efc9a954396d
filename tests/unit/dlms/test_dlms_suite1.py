"""Security suite 1: key derivation and signatures against published octets, envelopes, files of keys."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from twin_gateway.drivers.dlms.acse import Mechanism
from twin_gateway.drivers.dlms.ciphering import Ciphering, Counter, Key, Protection
from twin_gateway.drivers.dlms.errors import AssociationError, DlmsError, NotNegotiatedError, SecurityError
from twin_gateway.drivers.dlms.logical_names import LogicalNameAssociation
from twin_gateway.drivers.dlms.suite1 import (
    Agreement,
    AgreementKeys,
    SigningKeys,
    concatenated,
    derive,
    load_private,
    load_public,
    read_point,
)

EK, AK = Key(bytes(range(16))), Key(bytes(range(0xD0, 0xE0)))
CLIENT, METER = bytes.fromhex("4D4D4D0000BC614E"), bytes.fromhex("4D4D4D0000000001")
OURS, THEIRS = (ec.derive_private_key(number, ec.SECP256R1()) for number in (1234, 5678))


@pytest.mark.parametrize(
    ("shared", "parties", "key"),
    [
        (
            "0D4385BA0DD756CBCAB9887EB538396EE8F090A14C1079B4359F115B977F4615",
            CLIENT + METER,
            "59a71fd81c929a86a99438da17a66c05",
        ),
        (
            "2B4302DC49790E2E78D990CFB52ED6E2F273DECE441A2D95E4301B93812A9FAC",
            METER + CLIENT,
            "f0184bda9466bfa4601a64a7ef46504a",
        ),
    ],
)
def test_a_one_pass_key_is_that_of_the_green_book(shared, parties, key):
    # DLMS UA Green Book, annex C, table C.2: from client to meter, and from meter to client.
    assert concatenated(bytes.fromhex(shared), parties).hex() == key


def test_both_sides_derive_one_key():
    assert derive(OURS, THEIRS.public_key(), CLIENT, METER) == derive(THEIRS, OURS.public_key(), CLIENT, METER)
    assert derive(OURS, THEIRS.public_key(), CLIENT, METER) != derive(OURS, THEIRS.public_key(), METER, CLIENT)


def test_a_signature_is_r_and_s_as_rfc_6979_prints_them():
    # RFC 6979 A.2.5: P-256, SHA-256, message "sample".
    key = ec.derive_private_key(
        int("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721", 16), ec.SECP256R1()
    )
    keys = SigningKeys(key, key.public_key())
    signature = bytes.fromhex(
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )
    assert keys.verify(b"sample", signature) and not keys.verify(b"Sample", signature)
    assert not keys.verify(b"sample", signature[:-1])
    own = keys.sign(b"sample")
    assert len(own) == 64 and keys.verify(b"sample", own)


def both_ends(scheme=Agreement.ONE_PASS, general=False):
    ends = []
    for title, peer, own, other in ((CLIENT, METER, OURS, THEIRS), (METER, CLIENT, THEIRS, OURS)):
        public = other.public_key()
        protection = Protection(1, general, SigningKeys(own, public), AgreementKeys(own, public, scheme))
        end = Ciphering(title, EK, AK, Counter(1), protection=protection)
        end.peer_title = peer
        ends.append(end)
    return ends


@pytest.mark.parametrize("scheme", list(Agreement))
def test_an_agreed_key_protects_one_message(scheme):
    ours, theirs = both_ends(scheme)
    apdus = [ours.protect(b"\xc0\x01\xc1" + bytes([number])) for number in range(3)]
    after = 2 + apdus[0][1]  # the identifier of the transaction
    titles = "08" + CLIENT.hex() + "08" + METER.hex() + "0000"
    assert apdus[0][0] == 0xDD and apdus[0][after : after + 20].hex() == titles
    for number, apdu in enumerate(apdus):
        assert theirs.unprotect(apdu) == b"\xc0\x01\xc1" + bytes([number])
    for apdu in apdus:
        with pytest.raises(SecurityError, match="does not rise"):
            theirs.unprotect(apdu)


@pytest.mark.parametrize("scheme", list(Agreement))
def test_a_counter_that_begins_again_never_meets_the_same_agreed_key(scheme):
    # The counters belong to the global key: after it was changed they may begin lower, the curve keys being the same.
    sealed = {both_ends(scheme)[0].protect(b"\xc0\x01\xc1")[-15:] for _ in range(3)}
    assert len(sealed) == 3


@pytest.mark.parametrize("place", [1, 5, 12, 20, 25, 60, 120, -20, -1])
def test_an_agreed_message_that_was_altered_is_refused(place):
    ours, theirs = both_ends()
    apdu = bytearray(ours.protect(b"\xc0\x01\xc1"))
    apdu[place] ^= 0x01
    with pytest.raises(DlmsError):
        theirs.unprotect(bytes(apdu))


def test_messages_of_suite_0_are_refused_in_suite_1():
    ours, theirs = both_ends()
    plain = Ciphering(CLIENT, EK, AK, Counter(1))
    with pytest.raises(SecurityError, match="security control"):
        theirs.unprotect(plain.protect(b"\xc0\x01\xc1"))
    assert theirs.unprotect(ours.protect_specific(b"\xc0\x01\xc1")) == b"\xc0\x01\xc1"


def test_a_point_off_the_curve_is_refused():
    with pytest.raises(SecurityError, match="P-256"):
        read_point(bytes(63) + b"\1")


def over(pair, run_steps, meter_key, protection_of_client):
    both = pair(Mechanism.HLS_ECDSA)
    both.access.protection = Protection(1, False, SigningKeys(meter_key, OURS.public_key()))
    cipher = Ciphering(CLIENT, EK, AK, Counter(1), protection=protection_of_client)
    return both, LogicalNameAssociation(Mechanism.HLS_ECDSA, b"", cipher)


def test_signatures_prove_both_sides(pair, run_steps):
    both, client = over(pair, run_steps, THEIRS, Protection(1, False, SigningKeys(OURS, THEIRS.public_key())))
    run_steps(client.open(), both.answer)


def test_a_meter_that_signs_with_another_key_is_refused(pair, run_steps):
    both, client = over(pair, run_steps, OURS, Protection(1, False, SigningKeys(OURS, THEIRS.public_key())))
    with pytest.raises(SecurityError, match="failed to prove"):
        run_steps(client.open(), both.answer)


def test_a_client_that_signs_with_another_key_is_refused(pair, run_steps):
    both, client = over(pair, run_steps, THEIRS, Protection(1, False, SigningKeys(THEIRS, THEIRS.public_key())))
    with pytest.raises(AssociationError):
        run_steps(client.open(), both.answer)


def test_general_protection_that_is_not_offered_is_not_used(pair, run_steps):
    protection = Protection(1, True, SigningKeys(OURS, THEIRS.public_key()))
    both, client = over(pair, run_steps, THEIRS, protection)
    with pytest.raises(NotNegotiatedError, match="general protection"):
        run_steps(client.open(), both.answer)


def test_keys_are_read_from_pem_files(tmp_path):
    public = tmp_path / "p.pem"
    public.write_bytes(OURS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert load_public(str(public)).public_numbers() == OURS.public_key().public_numbers()
    for number, form in enumerate((PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)):
        path = tmp_path / f"{number}.key"
        path.write_bytes(OURS.private_bytes(Encoding.PEM, form, NoEncryption()))
        assert load_private(str(path)).private_numbers() == OURS.private_numbers()
        with pytest.raises(OSError, match="public key"):
            load_public(str(path))
    with pytest.raises(OSError, match="private key"):
        load_private(str(public))
    other = ec.derive_private_key(9, ec.SECP384R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(OSError, match="P-256"):
        load_private(str(path))


def test_keys_are_never_shown():
    keys = SigningKeys(OURS, THEIRS.public_key())
    assert "EllipticCurve" not in repr(keys) and "EllipticCurve" not in repr(AgreementKeys(OURS, THEIRS.public_key()))
