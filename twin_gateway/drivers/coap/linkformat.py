"""The CoRE link format (RFC 6690) of `/.well-known/core`: what resources a device says it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_LINKS = 10_000
"""Most links of one document."""

_TARGET = re.compile(r"\s*<([^<>]*)>")
_COMMA = re.compile(r"\s*,")
_PARAMETER = re.compile(r"""\s*;\s*([!#$&+.^_`|~0-9A-Za-z*-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*))?""")


class LinkFormatError(ValueError):
    """The text is no link-format document; the message says where it ends to be one."""


@dataclass(frozen=True, slots=True)
class WebLink:
    """One resource.

    Attributes:
        target: path or URI.
        parameters: `rt`, `if`, `ct`, `title` … as texts; `obs` and others without a value are empty texts.
    """

    target: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[str, str]:
        """What a filter looks at: the parameters, and the target as `href`."""
        return {**self.parameters, "href": self.target}


def fits(values: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether every filter fits (RFC 6690 4.1): a whole value, one of its words, or the beginning of one with `*`."""
    for name, pattern in wanted.items():
        value = values.get(name)
        if value is None or not any(_alike(word, pattern) for word in (value, *value.split())):
            return False
    return True


def _alike(word: str, pattern: str) -> bool:
    return word.startswith(pattern[:-1]) if pattern.endswith("*") else word == pattern


def parse(payload: bytes) -> list[WebLink]:
    """Links of a document, in its order.

    Raises:
        LinkFormatError: not UTF-8, not of the grammar, or more than `MAX_LINKS` links.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LinkFormatError("links are not UTF-8") from error
    links: list[WebLink] = []
    text = text.strip()
    at = 0
    while at < len(text):
        match = _TARGET.match(text, at)
        if match is None or len(links) >= MAX_LINKS:
            raise LinkFormatError(f"no link at character {at}" if match is None else "too many links")
        at = match.end()
        parameters: dict[str, str] = {}
        while (parameter := _PARAMETER.match(text, at)) is not None:
            value = parameter[2] or ""
            if value.startswith('"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            parameters.setdefault(parameter[1], value)
            at = parameter.end()
        links.append(WebLink(match[1], parameters))
        if at == len(text):
            break
        comma = _COMMA.match(text, at)
        if comma is None:
            raise LinkFormatError(f"no comma between links at character {at}")
        at = comma.end()
    return links
