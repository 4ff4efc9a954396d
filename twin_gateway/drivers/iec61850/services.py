"""MMS services that the driver uses, as functions on an association: names, types, data sets, read, write."""

from __future__ import annotations

from collections.abc import Sequence

from open61850 import ber
from open61850.data import IECData
from open61850.mms import pdu
from open61850.mms.pdu import ObjectName
from open61850.mms.types import MmsType

from . import tlv
from .association import Association
from .errors import DataAccessError, MmsProtocolError, decoded
from .type_description import type_description

_MAX_PAGES = 10_000
_MAX_NAMES = 500_000

READ_OVERHEAD = 40
"""Octets of a read request or response around its items, at most."""


async def names(link: Association, object_class: int, domain: str | None = None) -> list[str]:
    """All names of a class, page by page (`OBJECT_CLASS_*` of the codec).

    Raises:
        MmsProtocolError: the server's pages never end, or a name is none.
        MmsError: as `Association.request`.
    """
    found: list[str] = []
    after: str | None = None
    for _ in range(_MAX_PAGES):
        answer = await link.request(pdu.get_name_list_request(object_class, domain, after))
        page, more = decoded(pdu.get_name_list_response, answer.content)
        found += map(_identifier, page)
        if not more or not page or page[-1] == after:
            return found
        if len(found) > _MAX_NAMES:
            break
        after = page[-1]
    raise MmsProtocolError("the list of names never ends")


async def type_of(link: Association, name: ObjectName) -> MmsType:
    """The type of a variable (MmsError as `Association.request`)."""
    answer = await link.request(pdu.get_variable_access_attributes_request(name))
    return type_description(answer.content)


async def data_set_members(link: Association, name: ObjectName) -> list[str]:
    """The members of a data set (`domain/LN$FC$DO…`, elements of arrays `…$har(3)$mag`) in their order.

    Raises:
        MmsProtocolError: the answer is no list of variables.
        MmsError: as `Association.request`.
    """
    answer = await link.request(pdu.get_named_variable_list_attributes_request(name))
    return decoded(members_response, answer.content)


def members_response(content: bytes) -> list[str]:
    """The members in the answer to `data_set_members`; raises whatever the codec library raises on nonsense."""
    for found in ber.iter_tlvs(content):
        if found.tag == 0xA1:
            return [_identifier(_member(entry.value)) for entry in ber.iter_tlvs(found.value)]
    raise MmsProtocolError("data set without members")


def _identifier(name: str) -> str:
    """A name that the device gave, which is asked for by it; what is no ASCII has been replaced by the codec."""
    if not name.isascii():
        raise MmsProtocolError(f"a name that no device may have: {name!r:.100}")
    return name


def _member(entry: bytes) -> str:
    """One member: its variable, and below it what an alternate access selects (61850-8-1, 9.2: index and component)."""
    parts = list(ber.iter_tlvs(entry))
    if not parts or parts[0].tag != 0xA0:
        raise MmsProtocolError("member of a data set that is no variable")
    name = pdu.decode_object_name(ber.decode_tlv(parts[0].value))
    selected = _selected(parts[1].value) if len(parts) > 1 and parts[1].tag == 0xA5 else ""
    return f"{name.domain}/{name.item}{selected}"


def _selected(content: bytes, depth: int = 0) -> str:
    """`(3)$mag$f` of an alternate access with one selection (ISO 9506-2): index, component, or one in the other."""
    choices = list(ber.iter_tlvs(content))
    if len(choices) != 1 or depth > 8:
        raise MmsProtocolError("alternate access that selects several parts")
    of = choices[0]
    if of.tag != 0xA0:  # selectAccess
        return _step(of, of.tag - 0x81)
    parts = list(ber.iter_tlvs(of.value))  # selectAlternateAccess: what is selected, and a selection inside it
    if len(parts) != 2 or parts[1].tag != 0x30:
        raise MmsProtocolError("alternate access that selects nothing")
    return _step(parts[0], parts[0].tag - 0x80) + _selected(parts[1].value, depth + 1)


def _step(of: ber.Tlv, kind: int) -> str:
    if kind == 0:
        return f"${of.value.decode('ascii', 'replace')}"
    if kind == 1:
        return f"({ber.decode_unsigned(of.value)})"
    raise MmsProtocolError(f"alternate access with tag 0x{of.tag:X}")


def variable_list(items: Sequence[ObjectName]) -> bytes:
    """The octets of a list of variables, as in requests that read or define a data set."""
    parts = b"".join(ber.encode_tlv(0x30, ber.encode_tlv(0xA0, pdu.encode_object_name(item))) for item in items)
    return ber.encode_tlv(0xA0, parts)


async def read(
    link: Association, *items: ObjectName, limit: float | None = None, turn: float | None = None
) -> list[IECData | DataAccessError]:
    """Values of a few variables that fit into one PDU, within `limit` seconds; a refused one is its DataAccessError.

    `turn`: as of `Association.request`.

    Raises:
        MmsProtocolError: the number of results is another one.
    """
    answer = await link.request(pdu.read_request(list(items)), limit, turn=turn)
    results = decoded(pdu.read_response, answer.content)
    if len(results) != len(items):
        raise MmsProtocolError(f"{len(results)} results for {len(items)} variables")
    return results


async def read_raw(link: Association, items: Sequence[ObjectName]) -> tuple[bytes, int, int]:
    """(buffer, start, stop) of the access results of a read, for the fast decoder."""
    content = (await link.request(pdu.read_request(list(items)))).content
    position = 0
    while position < len(content):
        tag, start, stop = tlv.header(content, position, len(content))
        if tag == 0xA1:
            return content, start, stop
        position = stop
    raise MmsProtocolError("read response without results")


async def write(
    link: Association, name: ObjectName, value: IECData, limit: float | None = None, *, turn: float | None = None
) -> None:
    """Write one variable, within `limit` seconds; `turn` as of `Association.request`.

    Raises:
        DataAccessError: the device refused; `code` says why.
        MmsError: as `Association.request`.
    """
    answer = await link.request(pdu.write_request([name], [value]), limit, turn=turn)
    results = decoded(pdu.write_response, answer.content)
    if len(results) != 1:
        raise MmsProtocolError(f"{len(results)} results for one write")
    if results[0] is not None:
        raise results[0]


def request_size(name: ObjectName) -> int:
    """Octets that a variable adds to a read request, at most."""
    return len(name.item) + len(name.domain or "") + 20
