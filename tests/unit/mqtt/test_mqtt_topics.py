"""Topics and groups."""

import pytest

from address_space.address import parse
from address_space.catalogue import classify
from address_space.point import Point, PointProfile
from address_space.table import PointTable
from twin_gateway.mqtt import topics
from twin_gateway.mqtt.topics import Groups, PointTopics, Topics

ADDRESSES = [
    "dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos",
    "dso1/north/TS0217/LV1/_/_/MMTR1/SupWh",
    "dso1/north/PS01/MV1/F05/_/MMXU1/TotW",
    "dso1/_sys/gw1/_/_/L104-ps01/LCCH1/ChLiv",
    "dso1/north/PS01/MV1/F06/_/MMXU1/A/phsB",
]


def add(table: PointTable, *addresses: str) -> None:
    table.add(Point(address, PointProfile.of(classify(parse(address)))) for address in addresses)


def table_of(*addresses: str) -> PointTable:
    table = PointTable()
    add(table, *addresses)
    return table


def test_links_stand_below_their_gateway():
    assert Topics("twin", "dso1/_sys/gw1").link("L104-ps01") == "twin/s/dso1/_sys/gw1/_/_/L104-ps01"


def test_an_event_without_an_address_is_the_gateways():
    assert Topics("twin", "dso1/_sys/gw1").of("e", "") == "twin/e/dso1/_sys/gw1"


def test_the_topic_of_a_point_ends_with_its_address():
    assert PointTopics(table_of(*ADDRESSES), "a/b", "v").of(2) == "a/b/v/" + ADDRESSES[2]


def test_the_cache_of_topics_is_bounded(monkeypatch):
    monkeypatch.setattr(topics, "_MAX_POINT_TOPICS", 2)
    cached = PointTopics(table_of(*ADDRESSES), "twin", "v")
    assert [cached.of(row) for row in (0, 1, 2, 3, 0)] == [f"twin/v/{ADDRESSES[row]}" for row in (0, 1, 2, 3, 0)]
    assert len(cached._cache) == 2


def groups_of(table: PointTable, level: int) -> dict[str, list[str]]:
    groups = Groups(table, "twin", level)
    found = {}
    for group in groups.extend():
        layout = groups.layout(int(group))
        found[layout.topic] = [key[1:-2] for key in layout.keys]
        place = layout.topic.removeprefix("twin/g/")
        assert [f"{place}/{key[1:-2]}" for key in layout.keys] == [table.address(int(row)) for row in layout.rows]
    return found


def test_points_are_grouped_by_bay_and_the_names_join_to_the_address():
    assert groups_of(table_of(*ADDRESSES), 5) == {
        "twin/g/dso1/north/PS01/MV1/F05": ["QA1/XCBR1/Pos", "_/MMXU1/TotW"],
        "twin/g/dso1/north/TS0217/LV1": ["_/_/MMTR1/SupWh"],
        "twin/g/dso1/_sys/gw1": ["_/_/L104-ps01/LCCH1/ChLiv"],
        "twin/g/dso1/north/PS01/MV1/F06": ["_/MMXU1/A/phsB"],
    }


@pytest.mark.parametrize(("level", "count"), [(1, 1), (3, 3), (6, 5)])
def test_the_level_of_the_groups_is_a_matter_of_settings(level, count):
    assert len(groups_of(table_of(*ADDRESSES), level)) == count


def test_points_added_later_join_their_group():
    table = table_of(*ADDRESSES)
    groups = Groups(table, "twin", 5)
    groups.extend()
    before = groups.layout(int(groups.of_row[0]))
    add(table, "dso1/north/PS01/MV1/F05/QB1/XSWI1/Pos")
    (touched,) = groups.extend()
    assert groups.layout(int(touched)).topic == before.topic
    assert groups.layout(int(touched)).keys == (*before.keys, '"QB1/XSWI1/Pos":')


def test_the_cache_of_groups_is_bounded(monkeypatch):
    monkeypatch.setattr(topics, "_MAX_MEMBERS", 3)
    groups = Groups(table_of(*ADDRESSES), "twin", 5)
    for group in groups.extend():
        groups.layout(int(group))
        assert sum(len(layout.rows) for layout in groups._layouts.values()) <= 3
