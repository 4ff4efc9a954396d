"""Data sets of our own making: names, groups that fit, defining and deleting them (MMS named variable lists)."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable, Sequence

from open61850 import ber
from open61850.mms import pdu
from open61850.mms.pdu import ObjectName

from . import services
from .association import Association
from .discovery import object_name
from .errors import MmsProtocolError

MOST_MEMBERS = 100
"""Members of one data set; devices rarely allow more."""
REPORTABLE = frozenset({"ST", "MX"})
"""Functional constraints whose attributes have triggers in every device."""
_DEFINE, _DELETE = 11, 13


def prefix(link: str, folder: str) -> str:
    """What the names of our data sets begin with: the same after a restart, another one for another gateway."""
    seed = f"{socket.gethostname()}\0{folder}\0{link}".encode()
    return f"twg{hashlib.blake2b(seed, digest_size=4).hexdigest()}_"


def is_ours(data_set: str, begins: str) -> bool:
    """Whether `domain/LN$name` is one of ours."""
    return data_set.rpartition("$")[2].startswith(begins)


def constraint_of(name: str) -> str:
    """`ST` of `domain/LN$ST$…`; empty when there is none."""
    return name.split("$", 2)[1] if "$" in name else ""


def groups(link: Association, objects: Iterable[str]) -> list[list[str]]:
    """Objects (`domain/LN$FC$DO…`) in groups of which each makes one request that the device takes."""
    room = link.pdu_size - services.READ_OVERHEAD - 96  # and the name of the data set
    found: list[list[str]] = []
    used = room + 1
    for name in objects:
        if constraint_of(name) not in REPORTABLE:
            continue
        size = services.request_size(object_name(name))
        if used + size > room or len(found[-1]) >= MOST_MEMBERS:
            found.append([])
            used = 0
        found[-1].append(name)
        used += size
    return found


async def define(link: Association, data_set: str, members: Sequence[str]) -> None:
    """Make a data set (ServiceError, MmsReject when the device does not; MmsError as `Association.request`)."""
    names = [object_name(member) for member in members]
    content = pdu.encode_object_name(object_name(data_set)) + services.variable_list(names)
    await link.request(ber.encode_tlv(ber.make_tag(_DEFINE, constructed=True), content))


async def delete(link: Association, data_set: str) -> bool:
    """Delete a data set; False when the device keeps it (MmsError as `Association.request`)."""
    name: ObjectName = object_name(data_set)
    content = ber.encode_tlv(0x80, b"\0") + ber.encode_tlv(0xA1, pdu.encode_object_name(name))
    answer = await link.request(ber.encode_tlv(ber.make_tag(_DELETE, constructed=True), content))
    numbers = [ber.decode_unsigned(found.value) for found in ber.iter_tlvs(answer.content)]
    if len(numbers) != 2:
        raise MmsProtocolError("answer to the deletion of a data set without its two numbers")
    return numbers[1] > 0
