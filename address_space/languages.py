"""Texts of the address space in several languages: what classes, data objects and states are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources

DEFAULT = "en"
"""Language of texts for those who ask for none that there is."""
_COLUMNS = ("en", "de")
LANGUAGES = _COLUMNS
"""LocaleIds that texts exist in."""


@cache
def _texts() -> Mapping[str, Mapping[str, str]]:
    table: dict[str, dict[str, str]] = {language: {} for language in _COLUMNS}
    for line in resources.files("address_space").joinpath("texts.tsv").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            key, *texts = line.split("\t")
            for language, text in zip(_COLUMNS, texts, strict=True):
                table[language][key] = text
    return table


def choose(locales: Iterable[str], languages: Iterable[str] = LANGUAGES) -> str:
    """The first language of a list of LocaleIds that there are texts in: `de-AT` finds `de`; else `en`."""
    known = tuple(languages)
    for locale in locales:
        for each in (locale, locale.partition("-")[0]):
            for language in known:
                if each.casefold() == language.casefold():
                    return language
    return DEFAULT


def text(key: str, language: str = DEFAULT) -> str:
    """Text of a key; empty when there is none in any language."""
    table = _texts()
    return table.get(language, {}).get(key) or table[DEFAULT].get(key, "")


def class_text(ln_class: str, language: str = DEFAULT) -> str:
    """What a logical-node class is; empty where it has no text."""
    return text(ln_class, language)


def object_text(ln_class: str, data_object: str, language: str = DEFAULT) -> str:
    """What a data object means; those with a number of their own (`Ind3`) are as those without."""
    plain = data_object.rstrip("0123456789")
    for key in (f"{ln_class}.{data_object}", data_object, f"{ln_class}.{plain}", plain):
        found = text(key, language)
        if found:
            return found
    return ""


def label(enumeration: str | None, name: str, language: str = DEFAULT) -> tuple[str, str]:
    """(Label of a state, its language); the label itself, which is of no language, where it has no text."""
    found = text(f"{enumeration}={name}", language)
    return (found, language) if found else (name, "")
