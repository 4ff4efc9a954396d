"""Address widths that are not those of the standard: the link's form and the usual one, there and back."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_gateway.drivers.iec104.codec import Asdu, Information, decode, encode
from twin_gateway.drivers.iec104.types import AsduError
from twin_gateway.drivers.iec104.widths import Widths

ALL = [Widths(cause, common, address) for cause in (1, 2) for common in (1, 2) for address in (1, 2, 3)]


def narrowed(asdu, widths):
    """The narrow form of any ASDU, element by element."""
    whole = encode(asdu)
    parts = [whole[:2], whole[2 : 2 + widths.cause], whole[4 : 4 + widths.common_address]]
    step, body = (len(whole) - 6) // len(asdu.objects), whole[6:]
    if asdu.sequence:
        return b"".join([*parts, body[: widths.object_address], body[3:]])
    for at in range(0, len(body), step):
        parts += [body[at : at + widths.object_address], body[at + 3 : at + step]]
    return b"".join(parts)


@pytest.mark.parametrize("widths", ALL)
def test_what_comes_in_narrow_fields_is_read_as_in_wide_ones(widths):
    several = Asdu(36 - 23, 3, 7, tuple(Information(address, address / 4) for address in (1, 9, 200)))
    row = Asdu(11, 20, 7, tuple(Information(address, -address) for address in (5, 6, 7)), sequence=True)
    single = Asdu(1, 3, 255 if widths.common_address == 2 else 254, (Information(255, 1),))
    for asdu in (several, row, single):
        assert decode(widths.widen(narrowed(asdu, widths)), 2026) == asdu


@pytest.mark.parametrize("widths", ALL)
def test_a_command_goes_out_in_the_widths_of_the_link(widths):
    command = Asdu(46, 6, 9, (Information(77, 2),))
    sent = widths.narrow(encode(command))
    assert len(sent) == 3 + widths.cause + widths.common_address + widths.object_address
    assert decode(widths.widen(sent), 2026) == command


def test_every_station_is_meant_by_all_ones_in_either_width():
    narrow = Widths(2, 1, 3)
    everyone = encode(Asdu(100, 6, 0xFFFF, (Information(0, 20),)))
    assert narrow.narrow(everyone)[4:5] == b"\xff"
    assert narrow.widen(narrow.narrow(everyone)) == everyone


@pytest.mark.parametrize(
    ("widths", "common", "address"),
    [(Widths(2, 1, 3), 256, 1), (Widths(2, 2, 2), 1, 65_536), (Widths(2, 2, 1), 1, 256)],
)
def test_an_address_that_does_not_fit_is_refused(widths, common, address):
    with pytest.raises(AsduError, match="does not fit"):
        widths.narrow(encode(Asdu(45, 6, common, (Information(address, 1),))))


@given(st.binary(max_size=60), st.sampled_from(ALL))
def test_garbled_octets_never_raise_anything_but_the_decoders_error(octets, widths):
    with contextlib.suppress(AsduError):
        decode(widths.widen(octets), 2026)


def test_an_asdu_that_is_cut_in_narrow_fields_stays_an_error():
    widths = Widths(1, 1, 1)
    whole = narrowed(Asdu(13, 3, 7, (Information(1, 1.0), Information(2, 2.0))), widths)
    for end in range(len(whole)):
        with pytest.raises(AsduError):
            decode(widths.widen(whole[:end]), 2026)
