"""Properties of points: units, ranges, states and enumerations, as OPC UA values on the wire."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from address_space import catalogue, languages, units
from address_space.catalogue import VariableKind
from address_space.opcua.untyped import ua
from address_space.opcua.wire import encode_variant, localized_text
from address_space.point import PointProfile
from address_space.ports import Argument

_LOCALIZED_TEXT, _ARGUMENT, _RANGE, _EU_INFORMATION, _ENUM_VALUE = 21, 296, 884, 887, 7594


class PropertyValue(NamedTuple):
    """Value of a property.

    Attributes:
        variant: the value on the wire.
        data_type: numeric NodeId of namespace 0.
        value_rank: -1 scalar, 1 array.
    """

    variant: bytes
    data_type: int
    value_rank: int


@lru_cache(maxsize=4096)
def properties_of(profile: PointProfile) -> tuple[str, ...]:
    """Names of the properties that a point of the profile has."""
    if profile.kind is VariableKind.TWO_STATE:
        return ("FalseState", "TrueState")
    if profile.kind is VariableKind.MULTI_STATE:
        return ("EnumValues", "ValueAsText")
    if profile.kind is VariableKind.DATA:
        return ()
    names = ["EngineeringUnits"] if profile.unit is not None or profile.kind is VariableKind.ANALOG else []
    if profile.low is not None and profile.high is not None:
        names.append("EURange")
    return tuple(names)


@lru_cache(maxsize=4096)
def property_value(profile: PointProfile, name: str, language: str = "") -> PropertyValue:
    """Value of a property, all but `ValueAsText`, which depends on the point's value; labels in a language.

    Raises:
        KeyError: when points of the profile have no such property.
    """
    if name not in properties_of(profile):
        raise KeyError(name)
    if name in {"TrueState", "FalseState"}:
        return text_value(languages.text(name, language), language)
    if name == "EnumValues":
        values = []
        for number, label in catalogue.enumeration(profile.enumeration):
            text, locale = languages.label(profile.enumeration, label, language)
            shown = ua.LocalizedText(text, locale or None)
            values.append(ua.EnumValueType(number, shown, shown))
        variant = ua.Variant(values, ua.VariantType.ExtensionObject, is_array=True)
        return PropertyValue(encode_variant(variant), _ENUM_VALUE, 1)
    if name == "EURange":
        extent = ua.Range(float(profile.low or 0.0), float(profile.high or 0.0))
        return PropertyValue(encode_variant(ua.Variant(extent, ua.VariantType.ExtensionObject)), _RANGE, -1)
    if name == "EngineeringUnits":
        variant = ua.Variant(engineering_units(profile.unit), ua.VariantType.ExtensionObject)
        return PropertyValue(encode_variant(variant), _EU_INFORMATION, -1)
    return text_value("")


def engineering_units(unit: units.Unit | None) -> Any:
    """EUInformation of a unit; without one the unit `1` stays unnamed with unitId -1."""
    if unit is None:
        return ua.EUInformation(units.UNECE_NAMESPACE, -1, ua.LocalizedText(""), ua.LocalizedText("no unit known"))
    return ua.EUInformation(
        units.UNECE_NAMESPACE,
        unit.unit_id,
        ua.LocalizedText(units.display_name(unit)),
        ua.LocalizedText(unit.description or unit.symbol),
    )


@lru_cache(maxsize=4096)
def text_value(text: str, locale: str = "") -> PropertyValue:
    """A LocalizedText value."""
    return PropertyValue(b"\x15" + localized_text(text, locale), _LOCALIZED_TEXT, -1)


@lru_cache(maxsize=1024)
def state_value(enumeration: str | None, number: int, language: str = "") -> PropertyValue:
    """Label of a state in a language; the number itself where the catalogue has no label."""
    name = dict(catalogue.enumeration(enumeration)).get(number)
    return text_value(str(number)) if name is None else text_value(*languages.label(enumeration, name, language))


@lru_cache(maxsize=1024)
def arguments_value(arguments: tuple[Argument, ...]) -> PropertyValue:
    """InputArguments or OutputArguments of a method."""
    values = []
    for argument in arguments:
        value = ua.Argument()
        value.Name = argument.name
        value.DataType = ua.NodeId(argument.type_id)
        value.ValueRank = 1 if argument.is_list else -1
        value.ArrayDimensions = [0] if argument.is_list else []
        value.Description = ua.LocalizedText(argument.description)
        values.append(value)
    variant = ua.Variant(values, ua.VariantType.ExtensionObject, is_array=True)
    return PropertyValue(encode_variant(variant), _ARGUMENT, 1)
