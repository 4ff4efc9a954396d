"""Conditions as records on disk, and found by place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from address_space.conditions import Condition
from twin_gateway.alarms.keeping import condition_of, record_of
from twin_gateway.alarms.places import PlaceIndex

_TEXT = st.text(max_size=20)
_IDS = st.binary(min_size=16, max_size=16)
_CONDITIONS = st.builds(
    Condition,
    address=_TEXT,
    code=_TEXT,
    type_name=_TEXT,
    condition_class=_TEXT,
    text=_TEXT,
    severity=st.integers(1, 1000),
    active=st.booleans(),
    event_id=_IDS,
    earlier=st.lists(_IDS, max_size=16).map(tuple),
    acked=st.booleans(),
    confirmed=st.booleans(),
    enabled=st.booleans(),
    comment=_TEXT,
    value=st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), _TEXT),
    status=st.integers(0, 2**32 - 1),
    active_time=st.integers(0, 2**63 - 1),
)


@settings(max_examples=100, deadline=None)
@given(_CONDITIONS)
def test_a_condition_is_read_as_it_was_written(condition: Condition) -> None:
    again = condition_of(record_of(condition))
    assert again == condition
    assert type(again.value) is type(condition.value)


def test_a_member_of_a_later_version_is_left_out() -> None:
    condition = Condition("a", "C04", "T", "Process", "x", 1, active=True, event_id=b"\1" * 16)
    record = json.loads(record_of(condition)) | {"mood": "bad"}
    assert condition_of(json.dumps(record)) == condition


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"event_id": "zz"}', '{"event_id": "00", "address": "a"}'])
def test_what_is_no_condition_is_refused(record: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        condition_of(record)


_PLACES = st.lists(
    st.lists(st.sampled_from(["a", "a-b", "a0", "b", "_"]), min_size=1, max_size=4).map("/".join), max_size=30
)


@settings(max_examples=100, deadline=None)
@given(_PLACES, st.sampled_from(["a", "a/b", "a-b", "a/a", "b/_/a", "c"]), st.data())
def test_the_index_finds_what_is_at_and_below_an_address_and_nothing_else(
    places: list[str], prefix: str, data: st.DataObject
) -> None:
    index = PlaceIndex()
    items = [(address, f"{address}${number}") for number, address in enumerate(places)]
    for item in items[: len(items) // 2]:
        index.add(*item)
    index.add_all(items[len(items) // 2 :])
    gone = data.draw(st.sets(st.sampled_from(items))) if items else set()
    for item in gone:
        index.remove(*item)
    expected = {
        name for address, name in items if (address, name) not in gone and f"{address}/".startswith(f"{prefix}/")
    }
    found = list(index.below(prefix))
    assert set(found) == expected
    assert len(found) == len(expected)
