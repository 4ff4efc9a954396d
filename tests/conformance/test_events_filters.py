"""Part 4, 7.22.3 and 7.7: event filters, by node-opcua."""

from __future__ import annotations

from typing import Any

from conformance import alarms
from conformance.alarms import CONDITION_TYPE, PLACE, SERVER, Stream, element, field, happen, literal, operator
from conformance.registry import case, check, each
from conformance.subject import Ours

_STOCK = "stock asyncua has none of these events"
EQUALS, IS_NULL, GREATER, LESS, GREATER_OR_EQUAL, LESS_OR_EQUAL, LIKE, NOT, BETWEEN, IN_LIST = range(10)
AND, OR, CAST, IN_VIEW, OF_TYPE, RELATED_TO, BITWISE_AND, BITWISE_OR = range(10, 18)
_BAD_FILTER = "BadEventFilterInvalid"


async def _passes(stream: Stream, subject: Ours, *where: Any) -> list[str]:
    """Messages of the three events a (severity 100), b (500) and c (900) that a where clause lets through."""
    made = await stream.add(f"ns=2;s={PLACE}", ["Message"], *where)
    assert made["statusCode"] == "Good", made
    for text, severity in (("a", 100), ("b", 500), ("c", 900)):
        happen(subject, text, severity=severity)
    happen(subject, "end", severity=1)
    ended = await stream.add(f"ns=2;s={PLACE}", ["Message"], handle=9)
    assert ended["statusCode"] == "Good"
    happen(subject, "end", severity=1)
    rows = []
    while not any(handle == 9 for handle, _ in rows):
        rows += await stream.told_to()
    return [row[0]["text"] for handle, row in rows if handle == 1 and row[0]["text"] != "end"]


SEVERITY = field("Severity")


@check("Part 4 7.22.3", "An event has the selected fields in the order of the select clauses", ours_only=_STOCK)
async def test_fields_in_the_order_of_the_select_clauses(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, ["Severity", "Message", "SourceName"])
    happen(subject, "in order", severity=321)
    [row] = await stream.told()
    assert [row[0], row[1]["text"], row[2]] == [321, "in order", PLACE]


@check("Part 4 7.22.3", "A selected field that an event does not have is null", ours_only=_STOCK)
async def test_a_field_that_is_not_there_is_null(stream: Stream, subject: Ours) -> None:
    made = await stream.add(SERVER, ["Message", "AckedState/Id"])
    happen(subject, "no condition")
    [row] = await stream.told()
    assert (made["statusCode"], row[1]) == ("Good", None)


@check("Part 4 7.22.3", "A field of a type that the event is not of is null", ours_only=_STOCK)
async def test_a_field_of_another_type_is_null(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, ["Message", field("Severity", CONDITION_TYPE), field("Severity", "i=2041")])
    happen(subject, "plain", severity=77)
    [row] = await stream.told()
    assert row[1:] == [None, 77]


@check(
    "Part 4 7.22.3", "A path that no event has is BadNodeIdUnknown of its clause; the item is made", ours_only=_STOCK
)
async def test_a_path_that_can_never_be_is_told_in_its_clause(stream: Stream, subject: Ours) -> None:
    made = await stream.add(SERVER, ["Message", "Nonsense"])
    assert made["statusCode"] == "Good"
    assert made["filterResult"]["selectClauseResults"] == ["Good", "BadNodeIdUnknown"]
    happen(subject, "still told")
    [row] = await stream.told()
    assert (row[0]["text"], row[1]) == ("still told", None)


@check("Part 4 7.22.3", "A filter without one good select clause answers BadEventFilterInvalid", ours_only=_STOCK)
async def test_without_a_good_clause_there_is_no_item(stream: Stream) -> None:
    made = await stream.add(SERVER, ["Nonsense"])
    assert made["statusCode"] == _BAD_FILTER
    assert made["filterResult"]["selectClauseResults"] == ["BadNodeIdUnknown"]


@check("Part 4 7.22.3", "A filter without select clauses answers BadEventFilterInvalid", ours_only=_STOCK)
async def test_without_clauses_there_is_no_item(stream: Stream) -> None:
    assert (await stream.add(SERVER, []))["statusCode"] == _BAD_FILTER


@check("Part 4 7.22.3", "A type that is no event type is BadTypeDefinitionInvalid of its clause", ours_only=_STOCK)
async def test_a_type_that_is_no_event_type(stream: Stream) -> None:
    made = await stream.add(SERVER, ["Message", field("Severity", "i=61")])
    assert made["filterResult"]["selectClauseResults"] == ["Good", "BadTypeDefinitionInvalid"]


@check("Part 4 7.22.3", "An unknown AttributeId is BadAttributeIdInvalid of its clause", ours_only=_STOCK)
async def test_an_unknown_attribute(stream: Stream) -> None:
    made = await stream.add(SERVER, ["Message", field("Severity", attribute=77)])
    assert made["filterResult"]["selectClauseResults"] == ["Good", "BadAttributeIdInvalid"]


@check("Part 4 7.22.3", "An IndexRange that is none is BadIndexRangeInvalid of its clause", ours_only=_STOCK)
async def test_an_index_range_that_is_none(stream: Stream) -> None:
    made = await stream.add(SERVER, ["Message", field("SourceName", indexRange="5:1")])
    assert made["filterResult"]["selectClauseResults"] == ["Good", "BadIndexRangeInvalid"]


@check("Part 4 7.22.3", "An IndexRange cuts a text field", ours_only=_STOCK)
async def test_an_index_range_cuts_a_text(stream: Stream, subject: Ours) -> None:
    await stream.add(SERVER, [field("SourceName", indexRange="0:3")])
    happen(subject, "cut")
    assert await stream.told() == [["dso1"]]


@check("Part 4 5.13.2", "An event item without an EventFilter is refused", ours_only=_STOCK)
async def test_without_an_event_filter_there_is_no_item(stream: Stream) -> None:
    made = await alarms.ask.monitor(stream.peer, stream.id, alarms.ask.item(SERVER, attribute=12, filter=None))
    assert made[0]["statusCode"] == _BAD_FILTER


@check("Part 4 5.13.2", "A node that has no EventNotifier answers BadAttributeIdInvalid", ours_only=_STOCK)
async def test_a_variable_is_no_notifier(stream: Stream, point: str) -> None:
    assert (await stream.add(f"ns=2;s={point}", ["Message"]))["statusCode"] == "BadAttributeIdInvalid"


@check("Part 4 5.13.2", "An event item on an unknown node answers BadNodeIdUnknown", ours_only=_STOCK)
async def test_an_unknown_node_is_no_notifier(stream: Stream) -> None:
    assert (await stream.add("ns=2;s=nowhere", ["Message"]))["statusCode"] == "BadNodeIdUnknown"


# ---- where ---------------------------------------------------------------------------------------------------------


@check("Part 4 7.7.3", "Equals compares numbers of different types", ours_only=_STOCK)
async def test_equals(stream: Stream, subject: Ours) -> None:
    assert await _passes(stream, subject, operator(EQUALS, SEVERITY, literal("Double", 500.0))) == ["b"]


@each(
    "combined, first, second, passed",
    case(
        "Part 4 7.7.3",
        "GreaterThan and LessThan leave out the bound",
        AND,
        (GREATER, 100),
        (LESS, 900),
        ["b"],
        ours_only=_STOCK,
    ),
    case(
        "Part 4 7.7.3",
        "GreaterThanOrEqual and LessThanOrEqual take the bound in",
        AND,
        (GREATER_OR_EQUAL, 100),
        (LESS_OR_EQUAL, 500),
        ["a", "b"],
        ours_only=_STOCK,
    ),
    case(
        "Part 4 7.7.3",
        "Or takes what either operand takes",
        OR,
        (EQUALS, 100),
        (EQUALS, 900),
        ["a", "c"],
        ours_only=_STOCK,
    ),
)
async def test_two_comparisons(
    stream: Stream,
    subject: Ours,
    combined: int,
    first: tuple[int, int],
    second: tuple[int, int],
    passed: list[str],
) -> None:
    both = (operator(kind, SEVERITY, literal("UInt16", bound)) for kind, bound in (first, second))
    assert await _passes(stream, subject, operator(combined, element(1), element(2)), *both) == passed


@check("Part 4 7.7.3", "Between takes both bounds in", ours_only=_STOCK)
async def test_between(stream: Stream, subject: Ours) -> None:
    where = operator(BETWEEN, SEVERITY, literal("UInt16", 500), literal("UInt16", 900))
    assert await _passes(stream, subject, where) == ["b", "c"]


@check("Part 4 7.7.3", "InList takes what equals one of its operands", ours_only=_STOCK)
async def test_in_list(stream: Stream, subject: Ours) -> None:
    where = operator(IN_LIST, SEVERITY, literal("UInt16", 100), literal("UInt16", 900))
    assert await _passes(stream, subject, where) == ["a", "c"]


@check("Part 4 7.7.3", "Like knows % and _ and lists of characters", ours_only=_STOCK)
async def test_like(stream: Stream, subject: Ours) -> None:
    where = operator(AND, element(1), element(2)), operator(LIKE, field("Message"), literal("String", "[ab]%"))
    where = (*where, operator(LIKE, field("SourceName"), literal("String", "dso_/%/MV[0-9]")))
    assert await _passes(stream, subject, *where) == ["a", "b"]


@check("Part 4 7.7.3", "Not turns its operand round", ours_only=_STOCK)
async def test_not(stream: Stream, subject: Ours) -> None:
    where = operator(NOT, element(1)), operator(EQUALS, SEVERITY, literal("UInt16", 500))
    assert await _passes(stream, subject, *where) == ["a", "c"]


@check("Part 4 7.7.3", "IsNull is true of a field that the event does not have", ours_only=_STOCK)
async def test_is_null(stream: Stream, subject: Ours) -> None:
    assert await _passes(stream, subject, operator(IS_NULL, field("AckedState/Id"))) == ["a", "b", "c"]


@check("Part 4 7.7.3", "A comparison with null is null, and Not of it too: the event is not told", ours_only=_STOCK)
async def test_null_is_neither_true_nor_false(stream: Stream, subject: Ours) -> None:
    where = operator(NOT, element(1)), operator(EQUALS, field("AckedState/Id"), literal("Boolean", True))
    assert await _passes(stream, subject, *where) == []


@check("Part 4 7.7.3", "Cast makes a number of a text", ours_only=_STOCK)
async def test_cast(stream: Stream, subject: Ours) -> None:
    where = operator(EQUALS, element(1), literal("String", "500")), operator(CAST, SEVERITY, literal("NodeId", "i=12"))
    assert await _passes(stream, subject, *where) == ["b"]


@check("Part 4 7.7.3", "BitwiseAnd and BitwiseOr work on integers", ours_only=_STOCK)
async def test_bitwise(stream: Stream, subject: Ours) -> None:
    # 100 is 0b0001100100, 500 is 0b0111110100, 900 is 0b1110000100: only 500 has the bit 16.
    where = (
        operator(EQUALS, element(1), literal("UInt16", 17)),
        operator(BITWISE_OR, element(2), literal("UInt16", 1)),
        operator(BITWISE_AND, SEVERITY, literal("UInt16", 16)),
    )
    assert await _passes(stream, subject, *where) == ["b"]


@check("Part 4 7.7.3", "OfType takes events of types derived from its operand", ours_only=_STOCK)
async def test_of_type_takes_derived_types(stream: Stream, subject: Ours, point: str) -> None:
    await stream.add(SERVER, ["ConditionName", "EventType"], operator(OF_TYPE, literal("NodeId", "i=2881")))
    happen(subject, "no condition")
    alarms.alarm(subject, point, code="X10")
    assert await stream.told() == [["X10", "ns=0;i=10637"]]


@check("Part 4 7.22.3", "InView and RelatedTo answer BadFilterOperatorUnsupported", ours_only=_STOCK)
async def test_in_view_and_related_to_are_not_for_events(stream: Stream) -> None:
    for number in (IN_VIEW, RELATED_TO):
        made = await stream.add(SERVER, ["Message"], operator(number, literal("NodeId", "i=85")))
        assert made["statusCode"] == _BAD_FILTER
        [result] = made["filterResult"]["whereClauseResult"]["elementResults"]
        assert result["statusCode"] == "BadFilterOperatorUnsupported"


@check("Part 4 7.7.1", "A wrong number of operands answers BadFilterOperandCountMismatch", ours_only=_STOCK)
async def test_a_wrong_number_of_operands(stream: Stream) -> None:
    made = await stream.add(SERVER, ["Message"], operator(EQUALS, SEVERITY))
    [result] = made["filterResult"]["whereClauseResult"]["elementResults"]
    assert (made["statusCode"], result["statusCode"]) == (_BAD_FILTER, "BadFilterOperandCountMismatch")


@check("Part 4 7.7.4", "An ElementOperand may only name a later element", ours_only=_STOCK)
async def test_elements_in_a_circle(stream: Stream) -> None:
    made = await stream.add(SERVER, ["Message"], operator(NOT, element(0)))
    [result] = made["filterResult"]["whereClauseResult"]["elementResults"]
    assert result["statusCode"] == "BadFilterOperandInvalid"
    assert result["operandStatusCodes"] == ["BadFilterOperandInvalid"]


@check("Part 4 5.13.3", "ModifyMonitoredItems gives an event item a new filter", ours_only=_STOCK)
async def test_modify_gives_a_new_filter(stream: Stream, subject: Ours) -> None:
    made = await stream.add(SERVER, ["Message"])
    parameters = {
        "clientHandle": 5,
        "samplingInterval": 0,
        "queueSize": 0,
        "discardOldest": True,
        "filter": alarms.event_filter(["Severity"], operator(EQUALS, SEVERITY, literal("UInt16", 900))),
    }
    answer = await stream.peer.request(
        "ModifyMonitoredItemsRequest",
        subscriptionId=stream.id,
        timestampsToReturn=2,
        itemsToModify=[{"monitoredItemId": made["monitoredItemId"], "requestedParameters": parameters}],
    )
    assert answer["results"][0]["statusCode"] == "Good"
    happen(subject, "before", severity=1)
    happen(subject, "after", severity=900)
    assert await stream.told_to() == [(5, [900])]


@check("Part 5 6.3.2", "More select clauses or operands than the ServerCapabilities tell are refused", ours_only=_STOCK)
async def test_limits_of_filters_are_told_and_kept(stream: Stream) -> None:
    clauses = (await alarms.ask.read(stream.peer, "i=24099"))["value"]["value"]
    operands = (await alarms.ask.read(stream.peer, "i=24100"))["value"]["value"]
    made = await stream.add(SERVER, ["Message"] * (clauses + 1))
    assert made["statusCode"] == "BadTooManyOperations"
    many = operator(IN_LIST, SEVERITY, *[literal("UInt16", 1)] * operands)
    assert (await stream.add(SERVER, ["Message"], many))["statusCode"] == "BadTooManyOperations"
    fits = operator(IN_LIST, SEVERITY, *[literal("UInt16", 1)] * (operands - 1))
    assert (await stream.add(SERVER, ["Message"] * clauses, fits))["statusCode"] == "Good"
