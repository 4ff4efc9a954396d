"""From the text of a cell to what it means: object addresses, types, numbers; and what spreadsheets spoil."""

from __future__ import annotations

import re
from typing import Final

from twin_gateway.drivers.iec104.types import BY_NAME, MAX_ADDRESS, TYPES
from twin_gateway.mapping.problem import did_you_mean


class CellError(ValueError):
    """A cell does not hold what its column asks for; `hint` says what to do, `spoiled` that a program changed it."""

    def __init__(self, message: str, hint: str = "", *, spoiled: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.spoiled = spoiled


_AS_TEXT: Final = "format the column as text, type the value again and save"
_SPOILED: Final = re.compile(
    r"#(REF|NAME|N/A|NV|VALUE|WERT|DIV/0|NULL|NUM|ZAHL|BEZUG|VALEUR|NOM|ODKAZ|HODNOTA)[!?]?|#{3,}", re.IGNORECASE
)
_POWER: Final = re.compile(r"[-+]?\d{1,3}[.,]\d+E[-+]?\d+", re.IGNORECASE)
_DATES: Final = re.compile(
    r"\d{1,2}[./-]\d{1,2}[./-](19|20)\d\d( \d{1,2}:\d\d(:\d\d)?)?|(19|20)\d\d-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?"
    r"|\d{1,2}[. -]{1,2}(jan|feb|mar|mär|mrz|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-z]*\.?( \d{2,4})?"
    r"|(jan|feb|mar|mär|mrz|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-z]*[. -]{1,2}\d{2,4}",
    re.IGNORECASE,
)
_WHOLE: Final = re.compile(r"\d{1,12}")
_GROUPED: Final = re.compile(r"\d{1,3}([ '’\u00a0\u202f]\d{3})+")
_ZEROS: Final = re.compile(r"(\d{1,8})[.,]0+")
_DOTTED: Final = re.compile(r"\d{1,3}([.\-/:]\d{1,3}){1,2}")
_HEX: Final = re.compile(r"(?:0x([0-9A-F]{1,6})|([0-9A-F]{1,6})h)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[-+]?(\d{1,30}([.,]\d{0,30})?|[.,]\d{1,30})(E[-+]?\d{1,3})?", re.IGNORECASE)
_THOUSANDS: Final = re.compile(r"[-+]?[1-9]\d{0,2}([.,])\d{3}")
_TYPE_NAME: Final = re.compile(r"[MCP]_[A-Z]{2}_[A-Z]{2}(_1)?")


def spoiled(text: str) -> str:
    """A sentence when a spreadsheet program has put something of its own into a cell of names; else empty."""
    if _SPOILED.fullmatch(text):
        return f"'{text}' is an error of the spreadsheet, not a value"
    if _DATES.fullmatch(text):
        return f"'{text}' is a date: the spreadsheet has made it of something else"
    if _POWER.fullmatch(text):
        return f"'{text}' is a number that the spreadsheet has shortened: digits are lost"
    return ""


def _whole(text: str) -> None:
    what = spoiled(text)
    if what:
        raise CellError(what, _AS_TEXT, spoiled=True)


def plain(text: str) -> str:
    """A text as it is; raises CellError for what the spreadsheet has spoiled."""
    _whole(text)
    return text[1:] if text.startswith("'") else text


def object_address(text: str, *, high: int = MAX_ADDRESS, low_first: bool = False) -> int:
    """An information object address (or a common one, with its limit): `66051`, `1.2.3`, `0x10203`, `66 051`.

    The parts of `1.2.3` are octets, the highest first unless `low_first`.

    Raises:
        CellError: for anything else.
    """
    text = text.removeprefix("'").strip()
    _whole(text)
    number = _address_number(text, low_first)
    if not 1 <= number <= high:
        raise CellError(f"{number} is not between 1 and {high}")
    return number


def _address_number(text: str, low_first: bool) -> int:
    if _WHOLE.fullmatch(text):
        return int(text)
    if (match := _HEX.fullmatch(text)) is not None:
        return int(match[1] or match[2], 16)
    if _GROUPED.fullmatch(text):
        return int(re.sub(r"\D", "", text))
    match = _ZEROS.fullmatch(text)
    if match is not None and (int(match[1]) > 255 or "," in text):
        return int(match[1])
    if _DOTTED.fullmatch(text):
        parts = re.split(r"[.\-/:]", text)
        octets = [int(part) for part in parts]
        padded = all(len(part) == 3 for part in parts)
        if len(parts) == 2 and len(parts[1]) == 3 and not padded:
            what = f"'{text}' may be {''.join(parts)} or the octets {octets[0]} and {octets[1]}"
            raise CellError(what, "write the number without a point")
        if max(octets) > 255:
            raise CellError(f"'{text}' has {max(octets)} where an octet is 0 to 255", _AS_TEXT)
        return int.from_bytes(bytes(octets), "little" if low_first else "big")
    raise CellError(f"'{text}' is no address", "a number as in 66051, or its octets as in 1.2.3")


def asdu_type(text: str) -> str:
    """Name of an ASDU type: `M_SP_TB_1`, `M_SP_TB`, `30`, `TI 30`, `<30>`, `M_SP_TB_1 (30)`.

    Raises:
        CellError: for a type that is not known, or a name and a number that contradict each other.
    """
    text = text.removeprefix("'").strip()
    _whole(text)
    upper = text.upper()
    name = _TYPE_NAME.search(upper)
    rest = upper.replace(name[0], " ") if name is not None else upper
    number = re.search(r"(?<!\d)(\d{1,3})(?:[.,]0+)?(?!\d)", rest)
    if name is not None:
        full = name[0] if name[0].endswith("_1") else f"{name[0]}_1"
        known = BY_NAME.get(full)
        if known is None:
            raise CellError(f"no type '{name[0]}' in IEC 60870-5-104", did_you_mean(full, BY_NAME))
        if number is not None and int(number[1]) != known.number:
            raise CellError(f"'{text}': {known.name} is type {known.number}, not {number[1]}")
        return known.name
    if number is not None and re.fullmatch(
        r"(?:[A-Z]{1,6}|TYPE ?ID\.?)?[ .:=<\[(]*\d{1,3}(?:[.,]0+)?[ >\])]*", rest.strip()
    ):
        found = TYPES.get(int(number[1]))
        if found is None:
            raise CellError(f"no type {number[1]} in IEC 60870-5-104")
        return found.name
    hint = did_you_mean(upper, BY_NAME) or "a name as in M_SP_TB_1 or a number as in 30; own words go into 'values'"
    raise CellError(f"'{text}' is no type", hint)


def number(text: str, decimal: str, *, doubtful: bool) -> float:
    """A number with a decimal point or comma.

    Args:
        text: the cell.
        decimal: `.` or `,` when it is known; empty when both may come.
        doubtful: whether `1.234` (or `1,234`) may be a thousand when `decimal` is empty.

    Raises:
        CellError: for what is no number, or could be two.
    """
    text = re.sub(r"(?<=\d)[ '’](?=\d{3}(\D|$))", "", text.removeprefix("'").strip()).replace("−", "-")
    if _SPOILED.fullmatch(text) or _DATES.fullmatch(text):
        _whole(text)
    other = {",": ".", ".": ","}.get(decimal, "")
    if other and re.fullmatch(r"[-+]?\d{1,3}(" + re.escape(other) + r"\d{3})+(" + re.escape(decimal) + r"\d*)?", text):
        text = text.replace(other, "")
    elif not decimal and re.fullmatch(r"[-+]?\d{1,3}(\.\d{3})+,\d+", text):
        text = text.replace(".", "")
    elif not decimal and re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+\.\d+", text):
        text = text.replace(",", "")
    if not _NUMBER.fullmatch(text):
        raise CellError(f"'{text}' is no number")
    match = _THOUSANDS.fullmatch(text)
    if not decimal and doubtful and match is not None:
        raise CellError(f"'{text}' may be a thousand or a fraction", f"say decimal: '{match[1]}' in the column map")
    if other and other in text:
        raise CellError(f"'{text}' has a '{other}', but decimals have a '{decimal}'")
    return float(text.replace(",", "."))
