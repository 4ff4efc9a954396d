"""Descriptions of the grid's nodes in the languages of the address space."""

from __future__ import annotations

from functools import lru_cache

from address_space import languages
from address_space.address import function_name
from address_space.catalogue import CDCS, VariableKind
from address_space.descriptions import description
from address_space.opcua.wire import NULL_TEXT, localized_text
from address_space.point import PointProfile
from address_space.table import PointTable

_FUNCTION_LEVEL, _DATA_LEVEL = 7, 8


def description_of(table: PointTable, address: str, tree: int, row: int, language: str) -> bytes:
    """LocalizedText on the wire of a place, function, data object or point; without a locale where it has no text."""
    if tree < 0:
        return NULL_TEXT
    level = int(table.tree.level[tree])
    if level < _FUNCTION_LEVEL:
        return NULL_TEXT
    parts = address.split("/")
    known = function_name(parts[_FUNCTION_LEVEL - 1])
    ln_class = known.ln_class if known is not None else ""
    if level == _FUNCTION_LEVEL:
        return _with_locale(languages.class_text(ln_class, language), language)
    meaning = description(address)
    if meaning:
        # What the twin computes is explained in English only.
        language = languages.DEFAULT
    elif level == _DATA_LEVEL:
        meaning = languages.object_text(ln_class, parts[_DATA_LEVEL - 1], language)
    what = _kind_of(table.profile(row)) if row >= 0 else ""
    if not meaning:
        return localized_text(what)
    return _with_locale(f"{meaning} ({what})" if what else meaning, language)


def _with_locale(text: str, language: str) -> bytes:
    return localized_text(text, language or languages.DEFAULT) if text else NULL_TEXT


@lru_cache(maxsize=4096)
def _kind_of(profile: PointProfile) -> str:
    known = CDCS.get(profile.cdc)
    what = f"{profile.cdc} {known.attribute}" if known is not None and known.attribute else profile.cdc
    if profile.kind is VariableKind.MULTI_STATE and profile.enumeration:
        what += f", {profile.enumeration}"
    return what
