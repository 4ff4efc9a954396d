"""Short names: octets of requests, blocks in both forms that meters send, refusals."""

import pytest

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.acse import PROPOSED_SHORT, Conformance
from twin_gateway.drivers.dlms.axdr import Tag, encode
from twin_gateway.drivers.dlms.errors import AccessError, ActionError, MalformedApduError, NotNegotiatedError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.short_names import ShortNameAssociation

PROFILE = Attribute(7, obis.parse("1-0:99.1.0"), 2)
SWITCH = Attribute(70, obis.parse("0-0:96.3.10"), 1)
ROWS = encode(Tag.ARRAY, [encode(Tag.UINT32, number) for number in range(50)])


@pytest.fixture
def service():
    """An association that has been opened, with two objects."""
    names = {(7, PROFILE.logical_name): (0x3000, 1), (70, SWITCH.logical_name): (0x4000, 0)}
    return ShortNameAssociation(conformance=PROPOSED_SHORT, pdu_size=200, names=names)


@pytest.fixture
def ask(run_steps):
    """Runs steps against fixed answers; returns the value and what was sent."""

    def run(steps, *answers):
        sent, waiting = [], list(answers)

        def answer(apdu):
            sent.append(apdu)
            return waiting.pop(0)

        return run_steps(steps, answer), sent

    return run


def test_an_attribute_is_at_its_base_name_and_8_for_each_before_it(service, ask):
    value, sent = ask(service.get(Attribute(7, PROFILE.logical_name, 4)), b"\x0c\x01\x00\x06\x00\x00\x03\x84")
    assert value == 900 and sent == [bytes.fromhex("0501023018")]


def test_reports_between_request_and_answer_are_passed_over(service, ask):
    report = b"\x18\x00\x01\x02\x30\x08\x00\x11\x05"
    value, _ = ask(service.get(Attribute(7, PROFILE.logical_name, 4)), report, b"\x0c\x01\x00\x06\x00\x00\x03\x84")
    assert value == 900 and service.counters.notifications == 1 and service.in_step


def test_rows_are_selected_by_parameterized_access(service, ask):
    value, sent = ask(service.get(PROFILE, b"\x02\x02\x00"), b"\x0c\x01\x00" + ROWS)
    assert value == list(range(50)) and sent == [bytes.fromhex("0501043008020200")]
    service.conformance &= ~Conformance.PARAMETERIZED_ACCESS
    with pytest.raises(NotNegotiatedError):
        ask(service.get(PROFILE, b"\x02\x02\x00"))


@pytest.mark.parametrize("form", ["value", "list"])
def test_a_long_value_comes_in_blocks_of_the_value_or_of_the_list_of_results(service, ask, form):
    whole = ROWS if form == "value" else b"\x01\x00" + ROWS
    cuts = [whole[at : at + 60] for at in range(0, len(whole), 60)]
    answers = [
        b"\x0c\x01\x02" + bytes((number == len(cuts),)) + number.to_bytes(2, "big") + bytes((len(part),)) + part
        for number, part in enumerate(cuts, 1)
    ]
    value, sent = ask(service.get(PROFILE), *answers)
    assert value == list(range(50))
    assert sent[1:] == [b"\x05\x01\x05" + number.to_bytes(2, "big") for number in range(1, len(cuts))]


def test_a_method_is_a_read_with_its_parameter(service, ask):
    _, sent = ask(service.action(SWITCH, encode(Tag.INT8, 0)), b"\x0c\x01\x00\x00")
    assert sent == [bytes.fromhex("0501044020010f00")]
    with pytest.raises(ActionError):
        ask(service.action(SWITCH), b"\x0c\x01\x01\x03")
    with pytest.raises(NotNegotiatedError, match="not known"):
        ask(service.action(Attribute(1, bytes(6), 1)))


def test_writing_says_what_the_meter_says(service, ask):
    _, sent = ask(service.set(Attribute(7, PROFILE.logical_name, 4), encode(Tag.UINT32, 60)), b"\x0d\x01\x00")
    assert sent == [bytes.fromhex("060102301801060000003c")]
    with pytest.raises(AccessError) as refused:
        ask(service.set(PROFILE, encode(Tag.NULL)), b"\x0d\x01\x01\x03")
    assert refused.value.code == 3
    with pytest.raises(NotNegotiatedError):
        ask(service.set(PROFILE, encode(Tag.OCTET_STRING, bytes(500))))


def test_what_the_object_list_does_not_have_is_undefined_without_asking(service, ask):
    values, sent = ask(service.get_many([Attribute(3, bytes(6), 2), PROFILE]), b"\x0c\x01\x00\x11\x07")
    assert isinstance(values[0], AccessError) and values[1] == 7 and sent == [bytes.fromhex("0501023008")]


@pytest.mark.parametrize("reply", ["0c", "0c02", "0c0100", "0c0105", "0c010200", "0c0102000002", "0c01020100020100"])
def test_malformed_answers_are_refused(service, ask, reply):
    with pytest.raises(MalformedApduError):
        ask(service.get(PROFILE), bytes.fromhex(reply))
