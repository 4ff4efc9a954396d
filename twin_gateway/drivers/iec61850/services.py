"""MMS services that the driver uses, as functions on an association: names, types, data sets, read, write."""

from __future__ import annotations

from collections.abc import Sequence

from open61850.data import IECData
from open61850.mms import pdu
from open61850.mms.pdu import ObjectName
from open61850.mms.types import MmsType, get_variable_access_attributes_response

from . import tlv
from .association import Association
from .errors import DataAccessError, MmsProtocolError

_MAX_PAGES = 10_000
_MAX_NAMES = 2_000_000

READ_OVERHEAD = 40
"""Octets of a read request or response around its items, at most."""


async def names(link: Association, object_class: int, domain: str | None = None) -> list[str]:
    """All names of a class, page by page (`OBJECT_CLASS_*` of the codec).

    Raises:
        MmsProtocolError: the server's pages never end.
        MmsError: as `Association.request`.
    """
    found: list[str] = []
    after: str | None = None
    for _ in range(_MAX_PAGES):
        answer = await link.request(pdu.get_name_list_request(object_class, domain, after))
        page, more = pdu.get_name_list_response(answer.content)
        found += page
        if not more or not page or page[-1] == after:
            return found
        if len(found) > _MAX_NAMES:
            break
        after = page[-1]
    raise MmsProtocolError("the list of names never ends")


async def type_of(link: Association, name: ObjectName) -> MmsType:
    """The type of a variable (MmsError as `Association.request`)."""
    answer = await link.request(pdu.get_variable_access_attributes_request(name))
    return get_variable_access_attributes_response(answer.content)


async def data_set_members(link: Association, name: ObjectName) -> list[ObjectName]:
    """The members of a data set in their order (MmsError as `Association.request`)."""
    answer = await link.request(pdu.get_named_variable_list_attributes_request(name))
    return pdu.get_named_variable_list_attributes_response(answer.content)


async def read(
    link: Association, *items: ObjectName, limit: float | None = None, turn: float | None = None
) -> list[IECData | DataAccessError]:
    """Values of a few variables that fit into one PDU, within `limit` seconds; a refused one is its DataAccessError.

    `turn`: as of `Association.request`.

    Raises:
        MmsProtocolError: the number of results is another one.
    """
    answer = await link.request(pdu.read_request(list(items)), limit, turn=turn)
    results = pdu.read_response(answer.content)
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
    results = pdu.write_response(answer.content)
    if len(results) != 1:
        raise MmsProtocolError(f"{len(results)} results for one write")
    if results[0] is not None:
        raise results[0]


def request_size(name: ObjectName) -> int:
    """Octets that a variable adds to a read request, at most."""
    return len(name.item) + len(name.domain or "") + 20
