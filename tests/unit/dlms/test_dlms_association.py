"""The client's association against the simulated meter in memory: services, security, odd replies."""

import contextlib
import logging
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.acse import Conformance, Mechanism
from twin_gateway.drivers.dlms.axdr import Tag, encode
from twin_gateway.drivers.dlms.ciphering import Ciphering, Counter, Key
from twin_gateway.drivers.dlms.errors import (
    AccessError,
    AssociationError,
    CounterExhaustedError,
    DlmsError,
    NotNegotiatedError,
    SecurityError,
    ServiceError,
    TooLargeError,
)
from twin_gateway.drivers.dlms.obis import Attribute

MODES = [Mechanism.NONE, Mechanism.LLS, Mechanism.HLS_GMAC]


def at(code, class_id=3, number=2):
    return Attribute(class_id, obis.parse(code), number)


ENERGY, VOLTAGE, POWER = at("1-0:1.8.0"), at("1-0:32.7.0"), at("1-0:16.7.0")
MISSING = at("1-0:99.9.0")
PROFILE = at("1-0:99.1.0", 7)


@pytest.mark.parametrize("mechanism", MODES)
def test_get_action_and_release_work(pair, mechanism):
    both = pair(mechanism).open()
    assert both.do(both.client.get(ENERGY)) == 123456
    assert both.do(both.client.get(at("1-0:32.7.0", 3, 3))) == [-1, 35]
    both.do(both.client.action(at("0-0:96.3.10", 70, 1), encode(Tag.INT8, 0)))
    assert both.meter.connected is False
    both.do(both.client.release())


def test_lists_come_back_in_order_with_refusals_in_their_place(pair):
    both = pair(Mechanism.HLS_GMAC).open()
    both.sent.clear()
    values = both.do(both.client.get_many([ENERGY, MISSING, VOLTAGE, POWER]))
    assert values[0] == 123456 and values[2:] == [2301, -1520]
    assert isinstance(values[1], AccessError) and values[1].code == 4
    assert len(both.sent) == 1


def test_what_is_not_negotiated_is_not_used(pair):
    both = pair(lists=False).open()
    both.sent.clear()
    assert both.do(both.client.get_many([ENERGY, VOLTAGE])) == [123456, 2301]
    assert [apdu[1] for apdu in both.sent] == [1, 1]  # two single requests
    both.client.conformance &= ~Conformance.ACTION
    with pytest.raises(NotNegotiatedError):
        both.do(both.client.action(at("0-0:96.3.10", 70, 1)))


def test_a_list_is_cut_to_the_negotiated_size(pair):
    both = pair(pdu_size=128).open()
    both.sent.clear()
    assert both.do(both.client.get_many([ENERGY] * 30)) == [123456] * 30
    assert len(both.sent) > 2 and max(len(apdu) for apdu in both.sent) <= 128


def test_a_long_value_comes_in_blocks(pair):
    both = pair(Mechanism.HLS_GMAC, profile_columns=[ENERGY.logical_name], profile_rows=2880, pdu_size=500).open()
    both.sent.clear()
    rows = both.do(both.client.get(PROFILE))
    assert len(rows) == 2880 and rows[0][1] == 123456
    assert len(both.sent) > 100


def test_a_value_beyond_the_limit_is_given_up(pair):
    both = pair(profile_columns=[ENERGY.logical_name], profile_rows=500, pdu_size=500).open()
    both.client.limits.value_octets = 2000
    with pytest.raises(TooLargeError):
        both.do(both.client.get(PROFILE))


def test_a_meter_that_offers_lists_and_refuses_them_is_asked_one_by_one(pair, run_steps):
    both = pair().open()

    def grumpy(apdu):
        return b"\xd8\x01\x02" if apdu[1] == 3 else both.answer(apdu)

    assert run_steps(both.client.get_many([ENERGY, VOLTAGE]), grumpy) == [123456, 2301]
    assert not both.client.can_list and both.client.counters.list_fallbacks == 1


def test_one_unreadable_value_in_a_list_does_not_cost_the_others(pair, run_steps):
    both = pair().open()

    def broken(apdu):
        answer = both.answer(apdu)
        if apdu[1] == 3 or apdu[5:11] == VOLTAGE.logical_name:
            return answer[:4] + b"\x07" + answer[5:]  # a data type that does not exist
        return answer

    values = run_steps(both.client.get_many([ENERGY, VOLTAGE]), broken)
    assert values[0] == 123456 and isinstance(values[1], DlmsError)


def test_a_list_that_breaks_off_between_its_blocks_does_not_cost_all_values(pair, run_steps):
    both = pair(pdu_size=64).open()

    def breaks_off(apdu):
        if apdu[1] == 2:
            return b"\xc4\x02" + apdu[2:3] + b"\x01" + apdu[3:7] + b"\x01\x0e"  # data block unavailable
        if apdu[1] == 3:
            return b"\xc4\x02" + apdu[2:3] + b"\x00\x00\x00\x00\x01\x00\x01\x02"
        return both.answer(apdu)

    assert run_steps(both.client.get_many([ENERGY, VOLTAGE]), breaks_off) == [123456, 2301]
    assert both.client.counters.list_fallbacks == 1


def test_replies_to_an_earlier_request_and_notifications_are_passed_over(pair, run_steps):
    both = pair().open()
    waiting = []

    def chatty(apdu):
        if apdu:
            reply = both.answer(apdu)
            stale = reply[:2] + bytes((reply[2] ^ 1,)) + reply[3:]
            waiting[:] = [b"\x0f\x00\x00\x00\x01\x00\x00", stale, reply]
        return waiting.pop(0)

    assert run_steps(both.client.get(ENERGY), chatty) == 123456
    assert both.client.counters.notifications == 1 and both.client.counters.stale_replies == 1


def test_octets_behind_a_value_are_counted(pair, run_steps):
    both = pair().open()
    assert run_steps(both.client.get(ENERGY), lambda apdu: both.answer(apdu) + b"\x09\x0f") == 123456
    assert both.client.counters.trailing_octets == 2


@pytest.mark.parametrize(
    ("apdu", "error"),
    [(b"\xd8\x01\x02", "service not supported"), (b"\x0e\x05\x02\x01", "confirmed-service-error")],
)
def test_error_apdus_are_told_apart(pair, run_steps, apdu, error):
    both = pair().open()
    with pytest.raises(ServiceError, match=error):
        run_steps(both.client.get(ENERGY), lambda _: apdu)


# --- security ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("for_hls", [False, True])
def test_a_dedicated_key_replaces_the_global_one_after_the_proof(pair, for_hls):
    both = pair(Mechanism.HLS_GMAC, dedicated=True)
    both.client.dedicated_for_hls = for_hls
    both.open()
    assert both.do(both.client.get(ENERGY)) == 123456
    assert both.sent[-1][0] == 0xD0 and both.sent[1][0] == (0xD3 if for_hls else 0xCB)


def test_general_glo_replies_are_taken(pair, run_steps):
    both = pair(Mechanism.HLS_GMAC).open()

    def general(apdu):
        server = both.server._cipher
        plain = server.unprotect(apdu)
        return server.protect_general(both.server._serve(plain))

    assert run_steps(both.client.get(ENERGY), general) == 123456


def test_a_wrong_password_is_refused_by_name(pair):
    both = pair(Mechanism.LLS)
    both.client.password = b"87654321"
    with pytest.raises(AssociationError, match="authentication failed"):
        both.open()


def test_a_wrong_key_is_refused(pair):
    both = pair(Mechanism.HLS_GMAC)
    both.client.ciphering.encryption = Key(b"\x01" * 16)
    with pytest.raises(ServiceError, match="deciphering"):
        both.open()


def test_a_meter_that_does_not_know_the_keys_is_not_believed(pair, run_steps):
    both = pair(Mechanism.HLS_GMAC)

    def forger(apdu):
        answer = both.answer(apdu)
        if apdu[0] == 0x60:
            return answer
        # right tag, wrong proof: deciphers with our key but answers another challenge
        both.server._cipher.counter.value += 1
        return both.server._cipher.protect(b"\xc7\x01\xc1\x00\x01\x00\x09\x11" + b"\x10" + bytes(16))

    with pytest.raises(SecurityError, match="prove"):
        run_steps(both.client.open(), forger)


def test_our_own_challenge_or_title_sent_back_is_a_reflection(pair):
    both = pair(Mechanism.HLS_GMAC)
    both.access.title = both.cipher.title
    with pytest.raises(SecurityError, match="own system title"):
        both.open()


def test_an_accepted_association_without_proof_is_not_taken(pair, run_steps):
    both = pair(Mechanism.HLS_GMAC)

    def lazy(apdu):
        # result-source-diagnostic 0 instead of 14: "you are in, no proof needed"
        return both.answer(apdu).replace(b"\xa3\x05\xa1\x03\x02\x01\x0e", b"\xa3\x05\xa1\x03\x02\x01\x00")

    with pytest.raises(SecurityError, match="skipped"):
        run_steps(both.client.open(), lazy)


def test_an_unprotected_reply_in_a_ciphered_association_is_refused(pair, run_steps):
    both = pair(Mechanism.HLS_GMAC).open()
    with pytest.raises(SecurityError, match="unprotected"):
        run_steps(both.client.get(ENERGY), lambda _: bytes.fromhex("c401c200060001e240"))


def test_a_repeated_reply_is_refused(pair, run_steps):
    both = pair(Mechanism.HLS_GMAC).open()
    kept = []

    def recorder(apdu):
        kept.append(both.answer(apdu))
        return kept[0]

    assert run_steps(both.client.get(ENERGY), recorder) == 123456
    with pytest.raises(SecurityError, match="does not rise"):
        run_steps(both.client.get(ENERGY), recorder)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_one_changed_octet_is_always_noticed(pair, run_steps, data):
    both = pair(Mechanism.HLS_GMAC).open()

    def flip(apdu):
        answer = bytearray(both.answer(apdu))
        answer[data.draw(st.integers(0, len(answer) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        return bytes(answer)

    with pytest.raises(DlmsError):
        run_steps(both.client.get(ENERGY), flip)


def test_the_meters_expected_counter_comes_with_the_refusal(pair):
    both = pair(Mechanism.HLS_GMAC)
    both.meter.last_counter = 5000
    with pytest.raises(ServiceError) as caught:
        both.open()
    assert caught.value.expected_counter == 5001


def test_without_reserved_counters_nothing_is_sent(pair):
    both = pair(Mechanism.HLS_GMAC, counter=Counter(7, 7))
    with pytest.raises(CounterExhaustedError):
        both.open()
    assert not both.sent


def test_no_counter_is_ever_used_twice_in_an_association(pair):
    both = pair(Mechanism.HLS_GMAC).open()
    for _ in range(5):
        both.do(both.client.get_many([ENERGY, VOLTAGE]))
    counters = [struct.unpack(">I", apdu[3:7])[0] for apdu in both.sent[1:]]
    assert counters == sorted(set(counters))


def test_secrets_never_show(pair, caplog):
    caplog.set_level(logging.DEBUG)
    both = pair(Mechanism.HLS_GMAC).open()
    shown = repr((both.client, both.cipher, both.access, both.cipher.encryption)) + caplog.text
    both = pair(Mechanism.LLS)
    shown += repr((both.client, both.access))
    for secret in (bytes(range(16)), bytes(range(0xD0, 0xE0)), b"12345678"):
        assert secret.hex() not in shown.lower() and repr(secret)[2:-1] not in shown
        assert repr(secret) not in shown
    with pytest.raises(TypeError):
        __import__("pickle").dumps(Key(bytes(16)))


def test_suite_0_gives_the_octets_of_the_green_book_example():
    # Green Book: GET of the clock, global unicast key, client title 4D4D4D0000BC614E, counter 01234567.
    cipher = Ciphering(
        bytes.fromhex("4d4d4d0000bc614e"),
        Key(bytes.fromhex("000102030405060708090a0b0c0d0e0f")),
        Key(bytes.fromhex("d0d1d2d3d4d5d6d7d8d9dadbdcdddedf")),
        Counter(0x01234567),
    )
    sealed = cipher.protect(bytes.fromhex("c0010000080000010000ff0200"))
    assert sealed.hex() == "c81e3001234567411312ff935a47566827c467bc7d825c3be4a77c3fcc056b6b"


# --- robustness --------------------------------------------------------------------------------------------------


@given(answer=st.binary(max_size=80), mode=st.sampled_from(MODES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_random_replies_only_ever_raise_dlms_errors(pair, run_steps, answer, mode):
    both = pair(mode).open()
    head = {0: b"", 1: b"\xc4\x01\xc1", 2: b"\xc4\x02\xc1", 3: b"\xc4\x03\xc1"}
    for steps, prefix in (
        (both.client.open(), b""),
        (both.client.get(ENERGY), b""),
        (both.client.get(ENERGY), head[1]),
        (both.client.get(ENERGY), head[2]),
        (both.client.get_many([ENERGY, VOLTAGE]), head[3]),
        (both.client.action(at("0-0:96.3.10", 70, 1)), b"\xc7\x01"),
        (both.client.set(ENERGY, b"\x00"), b"\xc5\x01"),
    ):
        both.client._invoke = 0
        both.client.conformance |= Conformance.SET
        left = [20]

        def reply(_, prefix=prefix, left=left):
            left[0] -= 1
            if not left[0]:
                raise _EnoughError
            return prefix + answer

        with contextlib.suppress(DlmsError, _EnoughError):
            run_steps(steps, reply)


class _EnoughError(Exception):
    """The meter has said enough."""


@pytest.mark.parametrize("octets", [0, 1, 12, 30, 48, 63, 64, 100])
def test_the_simulated_meter_serves_no_client_whose_apdus_are_too_short_for_blocks(pair, octets):
    both = pair(Mechanism.HLS_GMAC, profile_columns=[ENERGY.logical_name], profile_rows=9)
    both.client.limits.pdu_size = octets
    if 0 < octets < 64:
        with pytest.raises(AssociationError):
            both.open()
    else:
        assert len(both.open().do(both.client.get(PROFILE))) == 9


@given(apdu=st.binary(max_size=80), mode=st.sampled_from(MODES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_the_simulated_meter_survives_random_requests(pair, apdu, mode):
    both = pair(mode).open()
    for request in (apdu, b"\xc0\x01\xc1" + apdu, b"\xc0\x03\xc1" + apdu, b"\xc3\x01\xc1" + apdu, b"\x60" + apdu):
        assert isinstance(both.server.handle(1, request), bytes)
