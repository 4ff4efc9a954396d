"""The APCI state machine: sequence numbers, windows, acknowledgements, timers, both roles, on the clock of the test."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_gateway.drivers.iec104.apci import ApciError, Control, Endpoint, Limits

ASDU = bytes.fromhex("01010300010001000001")


def frame(number, acknowledged=0, asdu=ASDU):
    return (
        bytes((0x68, 4 + len(asdu)))
        + (number << 1).to_bytes(2, "little")
        + (acknowledged << 1).to_bytes(2, "little")
        + asdu
    )


def supervisory(acknowledged):
    return bytes((0x68, 4, 1, 0)) + (acknowledged << 1).to_bytes(2, "little")


def unnumbered(control):
    return bytes((0x68, 4, control, 0, 0, 0))


def client(**limits):
    endpoint = Endpoint(controlling=True, limits=Limits(**limits), now=0.0)
    endpoint.start(0.0)
    endpoint.receive(unnumbered(Control.STARTDT_CON), 0.0, [])
    endpoint.output.clear()
    return endpoint


def received(endpoint, data, now=1.0):
    asdus = []
    endpoint.receive(data, now, asdus)
    return asdus


def test_data_transfer_starts_only_with_the_confirmation():
    endpoint = Endpoint(controlling=True, limits=Limits(), now=0.0)
    endpoint.start(0.0)
    assert endpoint.output == [unnumbered(Control.STARTDT_ACT)]
    assert not endpoint.started
    assert not endpoint.send(ASDU, 0.0)
    received(endpoint, unnumbered(Control.STARTDT_CON))
    assert endpoint.started


def test_a_controlled_station_confirms_start_stop_and_test():
    endpoint = Endpoint(controlling=False, limits=Limits(), now=0.0)
    received(endpoint, unnumbered(Control.STARTDT_ACT) + unnumbered(Control.TESTFR_ACT))
    assert endpoint.started
    received(endpoint, unnumbered(Control.STOPDT_ACT))
    assert not endpoint.started
    assert endpoint.output == [
        unnumbered(control) for control in (Control.STARTDT_CON, Control.TESTFR_CON, Control.STOPDT_CON)
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=60))
def test_frames_come_out_whole_however_the_stream_is_cut(cuts):
    stream = b"".join(frame(number, 0, ASDU + bytes([number])) for number in range(20))
    endpoint, asdus, position = client(), [], 0
    for cut in [*cuts, len(stream)]:
        endpoint.receive(stream[position : position + cut], 1.0, asdus)
        position += cut
    assert asdus == [ASDU + bytes([number]) for number in range(20)]


ODDITIES = ("gap", "again", "longer", "acknowledged", "S", "U", "68", "L")


def outcome(pieces, number):
    """What an endpoint that has sent three frames and is due to get `number` makes of a stream in pieces."""
    endpoint, asdus, problem = client(), [], ""
    for _ in range(3):
        endpoint.send(ASDU, 0.0)
    endpoint._receive_number = number
    try:
        for piece in pieces:
            endpoint.receive(piece, 1.0, asdus)
    except ApciError as error:
        problem = str(error)
    return asdus, problem, endpoint._receive_number, endpoint.window, endpoint.unexpected


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 40),
    st.sampled_from((0, 126, 32_760)),
    st.dictionaries(
        st.integers(0, 40), st.sampled_from(("gap", "again", "longer", "acknowledged", "S", "U", "68", "L"))
    ),
)
def test_a_burst_is_taken_as_its_frames_are_one_by_one(count, number, oddities):
    frames, due, acknowledged = [], number, 0
    for at in range(count):
        odd = oddities.get(at)
        due += {"gap": 1, "again": -1}.get(odd, 0)
        acknowledged += odd == "acknowledged"
        octets = frame(due & 0x7FFF, acknowledged, ASDU + bytes([at]) + b"\0" * (odd == "longer"))
        due += 1
        match odd:
            case "S":
                frames.append(supervisory(acknowledged))
            case "U":
                frames.append(unnumbered(Control.TESTFR_CON))
            case "68":
                octets = b"\0" + octets[1:]
            case "L":
                octets = octets[:1] + b"\xff" + octets[2:]
        frames.append(octets)
    together, apart = outcome([b"".join(frames)], number), outcome(frames, number)
    assert together == apart
    if not oddities:
        assert together == ([ASDU + bytes([at]) for at in range(count)], "", (number + count) & 0x7FFF, 9, 0)


def test_a_burst_before_data_transfer_is_refused():
    endpoint = Endpoint(controlling=True, limits=Limits(), now=0.0)
    with pytest.raises(ApciError, match="stopped"):
        received(endpoint, b"".join(map(frame, range(8))))


def test_w_frames_are_acknowledged_at_once():
    endpoint = client(w=3)
    received(endpoint, frame(0) + frame(1))
    assert endpoint.output == []
    received(endpoint, frame(2))
    assert endpoint.output == [supervisory(3)]


def test_fewer_frames_are_acknowledged_within_t2():
    endpoint = client(t2=10)
    received(endpoint, frame(0), now=1.0)
    endpoint.tick(10.9)
    assert endpoint.output == []
    endpoint.tick(11.0)
    assert endpoint.output == [supervisory(1)]


def test_a_frame_of_our_own_acknowledges_too():
    endpoint = client(w=8)
    received(endpoint, frame(0))
    assert endpoint.send(ASDU, 1.0)
    assert endpoint.output == [frame(0, 1)]
    endpoint.output.clear()
    endpoint.tick(12.0)
    assert endpoint.output == []


def test_no_more_than_k_frames_leave_and_the_rest_waits_for_acknowledgement():
    endpoint = client(k=3, queue=5)
    taken = [endpoint.send(ASDU, 1.0) for _ in range(10)]
    assert taken == [True] * 8 + [False] * 2
    assert len(endpoint.output) == 3
    received(endpoint, supervisory(2))
    assert len(endpoint.output) == 5
    assert endpoint.waiting == 3


def test_a_command_that_cannot_leave_at_once_is_not_kept():
    endpoint = client(k=1)
    assert endpoint.send_now(ASDU, 1.0)
    assert not endpoint.send_now(ASDU, 1.0)
    assert endpoint.waiting == 0


def test_sequence_numbers_run_over_after_32767():
    endpoint = client()
    for number in range(32_768):
        received(endpoint, frame(number))
        endpoint.output.clear()
    assert received(endpoint, frame(0)) == [ASDU]


def test_an_idle_connection_is_tested_after_t3_and_given_up_after_t1():
    endpoint = client(t1=15, t3=20)
    endpoint.tick(19.9)
    assert endpoint.output == []
    endpoint.tick(20.0)
    assert endpoint.output == [unnumbered(Control.TESTFR_ACT)]
    endpoint.tick(34.9)
    with pytest.raises(ApciError, match="TESTFR_CON"):
        endpoint.tick(35.0)


def test_an_answered_test_keeps_the_connection():
    endpoint = client()
    endpoint.tick(20.0)
    received(endpoint, unnumbered(Control.TESTFR_CON), now=21.0)
    endpoint.tick(40.0)


def test_a_frame_without_acknowledgement_ends_the_connection_after_t1():
    endpoint = client(t1=15)
    endpoint.send(ASDU, 1.0)
    endpoint.tick(15.9)
    with pytest.raises(ApciError, match="not acknowledged"):
        endpoint.tick(16.0)


def test_a_start_without_confirmation_ends_the_connection_after_t1():
    endpoint = Endpoint(controlling=True, limits=Limits(t1=15), now=0.0)
    endpoint.start(0.0)
    with pytest.raises(ApciError, match="STARTDT_CON"):
        endpoint.tick(15.0)


@pytest.mark.parametrize(
    "data",
    [
        b"\x69\x04\x01\x00\x00\x00",  # another start octet
        b"\x68\x03\x01\x00\x00",  # too short
        b"\x68\xfe",  # too long
        frame(1),  # a frame is missing
        supervisory(1),  # never sent
        frame(0, 5),
        b"\x68\x05\x01\x00\x00\x00\x00",  # a supervisory frame has no data
        unnumbered(0x0F),
        unnumbered(0x47),
    ],
)
def test_broken_framing_and_sequence_numbers_end_the_connection(data):
    with pytest.raises(ApciError):
        received(client(), data)


def test_user_data_before_the_start_end_the_connection():
    endpoint = Endpoint(controlling=False, limits=Limits(), now=0.0)
    with pytest.raises(ApciError, match="stopped"):
        received(endpoint, frame(0))


def test_what_came_before_a_broken_frame_is_still_delivered():
    endpoint, asdus = client(), []
    with pytest.raises(ApciError):
        endpoint.receive(frame(0) + b"\x00\x00", 1.0, asdus)
    assert asdus == [ASDU]


def test_confirmations_nobody_asked_for_are_counted_and_harmless():
    endpoint = client()
    received(endpoint, unnumbered(Control.TESTFR_CON) + unnumbered(Control.STARTDT_ACT) + frame(0))
    assert endpoint.unexpected == 2
    assert endpoint.started


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_noise_raises_nothing_but_apci_errors(noise):
    try:
        received(client(), noise)
    except ApciError as problem:
        assert str(problem)


def test_after_the_end_was_asked_for_nothing_is_sent_but_what_still_comes_is_taken():
    endpoint = client()
    endpoint.stop(1.0)
    endpoint.output.clear()
    assert not endpoint.send(ASDU, 1.0)
    assert not endpoint.send_now(ASDU, 1.0)
    assert received(endpoint, frame(0)) == [ASDU]
    received(endpoint, unnumbered(Control.STOPDT_CON))
    assert not endpoint.started


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b"\x68\x03\x00", "framing_errors"),
        (frame(5), "sequence_errors"),
        (supervisory(9), "sequence_errors"),
    ],
)
def test_what_the_peer_breaks_is_told_apart(data, counter):
    with pytest.raises(ApciError) as broken:
        received(client(), data)
    assert broken.value.counter == counter


def test_tests_of_an_idle_connection_and_their_time_out_are_counted():
    endpoint = client(t1=5.0, t2=2.0, t3=10.0)
    endpoint.tick(10.0)
    endpoint.tick(11.0)
    assert endpoint.tests == 1
    with pytest.raises(ApciError) as broken:
        endpoint.tick(15.0)
    assert broken.value.counter == "t1_timeouts"
