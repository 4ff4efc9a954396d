"""The address grammar: the examples and refusals of the specification, escaping, and all representations."""

from __future__ import annotations

import timeit
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from address_space.address import Address, AddressError, Kind, escape, function_name, parse, parse_uncached, unescape

GOOD = {
    "dso1": Kind.GRID,
    "dso1/north": Kind.AREA,
    "dso1/north/PS01": Kind.SITE,
    "dso1/north/PS01/HV1/E01/TA1": Kind.EQUIPMENT,
    "dso1/north/PS01/MV1/F05": Kind.BAY,
    "dso1/north/PS01/MV1/F05/QA1": Kind.EQUIPMENT,
    "dso1/north/PS01/MV1/F05/QA1/T1": Kind.TERMINAL,
    "dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos": Kind.DATA,
    "dso1/north/PS01/MV1/F05/QA1/CSWI1/Pos": Kind.DATA,
    "dso1/north/PS01/MV1/F05/QA1/CILO1/EnaCls": Kind.DATA,
    "dso1/north/PS01/MV1/F05/QA1/SCBR1/AccmAbr": Kind.DATA,
    "dso1/north/PS01/MV1/F05/_/MMXU1/A/phsB": Kind.ATTRIBUTE,
    "dso1/north/PS01/MV1/F05/_/PHLPTOC1/Op": Kind.DATA,
    "dso1/north/PS01/MV1/F05/_/RREC1/AutoRecSt": Kind.DATA,
    "dso1/north/PS01/MV1/F05/IED1/LPHD1/PhyHealth": Kind.DATA,
    "dso1/north/PS01/MV1/F05/IED1/LGOS3/St": Kind.DATA,
    "dso1/north/RMU0217/MV1/C02/QB1/XSWI1/Pos": Kind.DATA,
    "dso1/north/RMU0217/MV1/C02/_/SFPI1/FltInd": Kind.DATA,
    "dso1/north/TS0217/LV1/_/_/MMTR1/SupWh": Kind.DATA,
    "dso1/north/TS0217/LV1/_/_/twLOSS1/LosPct": Kind.DATA,
    "dso1/north/SP000417/LV1/_/M1/MMTR1/DmdWh": Kind.DATA,
    "dso1/north/SP000417/LV1/_/M1/MMXN1/Vol": Kind.DATA,
    "dso1/north/L-N12/MV1/_/CN4": Kind.EQUIPMENT,
    "dso1/north/L-N12/MV1/_/WB3": Kind.EQUIPMENT,
    "dso1/north/_/_/_/_/twFLSR1/PlanSt": Kind.DATA,
    "dso1/_sys/gw1/_/_/L104-ps01/LCCH1/ChLiv": Kind.DATA,
    "dso1/north/PS~2EA~2F7/MV1/F05/QA1/XCBR1/Pos": Kind.DATA,
    "dso1/north/PS01/MV1/F05/_/LLN0/Beh": Kind.DATA,
    "dso1/north/PS01/MV1/F05/_/MHAI1/HA/phsAHar/3": Kind.ATTRIBUTE,
    "dso1/north/PS01/MV1/F05/QA1/XCBR1": Kind.FUNCTION,
}
BAD = [
    "",
    "_",
    "dso1/",
    "dso1//PS01",
    "dso1/north/PS01/_",
    "dso1/north/PS 01",
    "dso1/north/PS01/MV1/F05/QA1/XCB/Pos",
    "dso1/north/PS01/MV1/F05/QA1/XCBR1/pos",
    "dso1/north/PS01/MV1/F05/_/T1",
    "dso1/north/_sys",
    "dso1/nörth",
    "dso1/north/PS~2e",
    "dso1/north/A~41",
    "dso1/north/X~FF",
    "dso1/a+b",
    "dso1/a#",
    "dso1/-x",
    "dso1/north/PS01/MV1/F05/QA1/T1/x",
    "x" * 256,
    "_sys/a",
    "dso1/" + "x" * 49,
    "dso1/_",
    "dso1/_sys~2e/x",
    "dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos/a-b",
]


@pytest.mark.parametrize(("text", "kind"), GOOD.items())
def test_examples_of_the_specification_parse_to_their_kind_and_format_back(text: str, kind: Kind) -> None:
    address = parse_uncached(text)
    assert str(address) == text
    assert address.kind is kind


@pytest.mark.parametrize("text", BAD)
def test_refused_texts_say_why(text: str) -> None:
    with pytest.raises(AddressError, match=r"\w+ \w+"):
        parse_uncached(text)


@pytest.mark.parametrize("text", GOOD)
def test_every_ancestor_parses_and_ends_at_the_grid(text: str) -> None:
    address: Address | None = parse(text)
    depth = 0
    while address is not None:
        assert parse_uncached(str(address)) == address
        last, address, depth = address, address.parent(), depth + 1
    assert str(last) == "dso1"
    assert depth == len(parse(text).browse_path())


def test_browse_path_leaves_fillers_out() -> None:
    assert parse("dso1/north/PS01/MV1/F05/_/MMXU1/TotW").browse_path() == (
        "dso1", "north", "PS01", "MV1", "F05", "MMXU1", "TotW",
    )  # fmt: skip


def test_topic_uri_node_id_and_uuid_carry_the_address_verbatim() -> None:
    address = parse("dso1/north/PS01/MV1/F05/QA1")
    assert address.topic() == "twin/v/dso1/north/PS01/MV1/F05/QA1"
    assert address.topic("m", "city") == "city/m/dso1/north/PS01/MV1/F05/QA1"
    assert address.uri("example.org") == "https://example.org/uta/dso1/north/PS01/MV1/F05/QA1"
    assert address.uri("https://example.org/") == "https://example.org/uta/dso1/north/PS01/MV1/F05/QA1"
    assert address.node_id("urn:dso1") == "nsu=urn:dso1;s=dso1/north/PS01/MV1/F05/QA1"
    # The number that the specification gives for QA1 with the authority example.org.
    assert address.uuid("example.org") == uuid.UUID("32ac6ee7-efa2-50e4-b3c6-b8c66ca8261c")


def test_display_path_shows_the_readable_original() -> None:
    assert parse("dso1/north/PS~2EA~2F7").display_path() == ("dso1", "north", "PS.A/7")


def test_function_names_are_taken_apart() -> None:
    name = function_name("PHLPTOC12")
    assert name is not None
    assert (name.prefix, name.ln_class, name.instance) == ("PHL", "PTOC", "12")
    assert function_name("T1") is None
    llnzero = function_name("LLN0")
    assert llnzero is not None
    assert llnzero.ln_class == "LLN0"


@given(st.text(min_size=1, max_size=12))
def test_any_name_can_be_escaped_into_a_segment_and_back(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return
    segment = escape(text)
    assert unescape(segment) == text
    assert escape(unescape(segment)) == segment
    if len(segment) <= 48:
        assert str(parse_uncached(f"dso1/north/{segment}")) == f"dso1/north/{segment}"


@given(st.text(alphabet="abAB01_-~/TXCBR#+ ", max_size=40))
def test_the_parser_only_ever_refuses_with_an_address_error_and_what_it_takes_is_canonical(text: str) -> None:
    try:
        address = parse_uncached(text)
    except AddressError:
        return
    assert str(address) == text


def test_parsing_stays_within_its_order_of_cost() -> None:
    text = "dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos"
    parse(text)
    cached = timeit.timeit(lambda: parse(text), number=2000)
    uncached = timeit.timeit(lambda: parse_uncached(text), number=2000)
    assert cached < uncached / 3
