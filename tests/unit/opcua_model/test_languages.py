"""Texts in several languages: which is chosen, and where they come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from peers.opcua.rig import BAY, CONTROL, POSITION, grid, point

from address_space import catalogue, languages
from address_space.opcua.properties import property_value, state_value, text_value
from address_space.opcua.space import GridSpace
from address_space.opcua.wire import localized_text
from address_space.table import PointTable
from twin_gateway.mapping.field_error import FieldError
from twin_gateway.mapping.fields import names_value
from twin_gateway.mapping.read import Map


@pytest.mark.parametrize(
    ("locales", "chosen"),
    [
        ([], "en"),
        (["fr"], "en"),
        (["de"], "de"),
        (["de-AT"], "de"),
        (["DE"], "de"),
        (["fr", "de", "en"], "de"),
        (["en-US", "de"], "en"),
    ],
)
def test_the_first_language_that_there_is_is_chosen(locales: list[str], chosen: str) -> None:
    assert languages.choose(locales) == chosen


def test_every_text_is_of_something_that_the_catalogue_has() -> None:
    objects = {name for each in catalogue.ln_classes() for name in catalogue.data_objects(each)}
    for key in languages._texts()["en"]:
        enumeration, equals, label = key.partition("=")
        if equals:
            assert label in dict(catalogue.enumeration(enumeration)).values(), key
        else:
            assert key in catalogue.ln_classes() | objects | {"TrueState", "FalseState"}, key


def test_data_objects_with_a_number_are_as_those_without() -> None:
    assert languages.object_text("GGIO", "Ind3", "de") == languages.object_text("GGIO", "Ind", "de") == "Meldung"


def test_descriptions_are_in_the_language_and_say_the_class() -> None:
    space = GridSpace(grid(), 2, lambda *_: {})
    node = space.find(POSITION)
    assert node is not None
    text = "Schalterstellung (DPC stVal, DpStatusKind)"
    assert space.description(node, "de") == localized_text(text, "de")
    function, place = space.find(CONTROL), space.find(BAY)
    assert function is not None
    assert place is not None
    assert space.description(function, "de") == localized_text("Schaltgerätesteuerung", "de")
    assert space.description(place, "de") == b"\x00"


def test_labels_without_a_text_are_of_no_language() -> None:
    assert languages.label("DpStatusKind", "on", "de") == ("ein", "de")
    assert languages.label("AutoReclosingKind", "Ready", "de") == ("Ready", "")
    position = replace(point(POSITION).profile, enumeration="AutoReclosingKind")
    octets = property_value(position, "EnumValues", "de").variant
    assert localized_text("Ready") in octets
    assert b"\x02\0\0\0de" not in octets
    assert state_value("AutoReclosingKind", 1, "de") == text_value("Ready")


def test_names_of_a_point_in_several_languages() -> None:
    table = PointTable()
    names = (("en", "Feeder breaker"), ("de", "Abgangsschalter"))
    table.add([replace(point(POSITION), display_name="Feeder breaker", display_names=names)])
    space = GridSpace(table, 2, lambda *_: {})
    node, above = space.find(POSITION), space.find(POSITION.rpartition("/")[0])
    assert node is not None
    assert above is not None
    assert space.display_name(node, "de") == localized_text("Abgangsschalter", "de")
    assert space.display_name(node, "en") == localized_text("Feeder breaker", "en")
    [child] = space.child_references(above, "de")
    assert child.display == localized_text("Abgangsschalter", "de")


def test_a_name_in_no_known_language_is_the_plain_one() -> None:
    table = PointTable()
    table.add([replace(point(POSITION), display_name="Disjoncteur", display_names=(("fr", "Disjoncteur"),))])
    space = GridSpace(table, 2, lambda *_: {})
    node = space.find(POSITION)
    assert node is not None
    assert space.display_name(node, "de") == localized_text("Disjoncteur")


def test_mappings_name_points_in_one_or_more_languages() -> None:
    names = Map({"en": "Feeder 5", "de": "Abgang 5"})
    assert names_value(names) == (("en", "Feeder 5"), ("de", "Abgang 5"))
    assert names_value("Feeder 5") == (("", "Feeder 5"),)


@pytest.mark.parametrize("names", [{}, {"english": "x"}, {"en": ""}, {"en": 5}])
def test_names_in_what_is_no_language_are_refused(names: dict[str, object]) -> None:
    with pytest.raises(FieldError):
        names_value(Map(names))
