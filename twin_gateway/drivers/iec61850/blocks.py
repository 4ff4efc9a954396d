"""Report control blocks: what state one is in, which to take, enabling, resynchronising, giving back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

from open61850.data import (
    BitStringData,
    BoolData,
    IECData,
    IntData,
    OctetStringData,
    StructureData,
    UIntData,
    VisibleStringData,
)
from open61850.mms.types import StructureType

from . import services
from .association import Association
from .discovery import object_name
from .entries import Entry
from .errors import (
    OBJECT_NON_EXISTENT,
    DataAccessError,
    MmsConnectionError,
    MmsError,
    MmsReject,
    MmsTimeout,
    ServiceError,
)
from .model import Model, ReportBlock

# data change, quality change, integrity, general interrogation (bit 0 is reserved)
TRIGGERS = BitStringData(b"\x6c", 2)
# sequence number, time stamp, reason, data set, buffer overflow, entry id, configuration revision
OPTIONS = BitStringData(b"\x7b\x80", 6)
_CHANGES = b"\x60"
"""Data and quality change of `TRIGGERS`: without them events are missed."""
_T = TypeVar("_T")
_GENERAL_INTERROGATION = 0x04
_ENTRY_ID = 0x01


@dataclass(slots=True)
class BlockState:
    """What a block says of itself; None where it has no such attribute.

    Attributes:
        entry_id: EntryID, in most devices that of the last entry queued; empty or zeros when there is none.
    """

    block: ReportBlock
    enabled: bool = False
    reserved: bool = False
    reserved_for: int | None = None
    report_id: str = ""
    data_set: str = ""
    revision: int = 0
    triggers: BitStringData | None = None
    options: BitStringData | None = None
    integrity: int | None = None
    owner: bytes = b""
    entry_id: bytes = b""

    def free_for(self, address: str | None) -> bool:
        """Whether we may take it: nobody has it, or we had it before. Never one that is assigned to a client."""
        if self.enabled or (self.reserved_for is not None and self.reserved_for < 0):
            return False
        if not self.reserved and not self.reserved_for:
            return True
        return not any(self.owner) or _address(self.owner) == address


async def read_state(link: Association, model: Model, block: ReportBlock) -> BlockState | None:
    """State of a block; None when the device does not give it.

    Raises:
        MmsConnectionError, MmsTimeout: the association failed.
    """
    kind = model.type_of(block.name)
    try:
        (value,) = await services.read(link, object_name(block.name))
    except (MmsConnectionError, MmsTimeout):
        raise
    except MmsError:
        return None
    if not isinstance(kind, StructureType) or not isinstance(value, StructureData):
        return None
    found = dict(zip((name for name, _ in kind.components), value.members, strict=False))

    def plain(name: str, of: type[_T], default: _T) -> _T:
        inner = getattr(found.get(name), "value", None)
        return inner if isinstance(inner, of) else default

    options, triggers = found.get("OptFlds"), found.get("TrgOps")
    return BlockState(
        block,
        plain("RptEna", bool, False),
        plain("Resv", bool, False),
        plain("ResvTms", int, 0) if "ResvTms" in found else None,
        plain("RptID", str, ""),
        plain("DatSet", str, ""),
        plain("ConfRev", int, 0),
        triggers if isinstance(triggers, BitStringData) else None,
        options if isinstance(options, BitStringData) else None,
        plain("IntgPd", int, 0) if "IntgPd" in found else None,
        plain("Owner", bytes, b""),
        plain("EntryID", bytes, b""),
    )


def candidates(
    states: Sequence[BlockState], data_set: str, address: str | None, known: Callable[[str], Entry | None]
) -> list[BlockState]:
    """Blocks of a data set that may be taken: the one we had, then buffered ones, then the others."""
    usable = [state for state in states if state.data_set == data_set and state.free_for(address)]

    def order(state: BlockState) -> tuple[int, bool, str]:
        entry = known(state.block.name) if state.block.buffered else None
        # the one that delivered last comes first
        return (-entry.at - 1 if entry is not None else 0, not state.block.buffered, state.block.name)

    return sorted(usable, key=order)


def spare(states: Sequence[BlockState], address: str | None, taken: Collection[str]) -> list[BlockState]:
    """Blocks that may be given a data set of our making: those without one, then unbuffered ones of which others stay.

    A buffered block that has a data set is never one of them: what it has buffered for others would be lost.
    """
    free = [state for state in states if state.free_for(address) and state.block.name not in taken]
    of_base = Counter(state.block.base for state in free)
    usable = [s for s in free if not s.data_set or (not s.block.buffered and of_base[s.block.base] > 1)]
    return sorted(usable, key=lambda s: (bool(s.data_set), not s.block.buffered, s.block.base, _reversed(s.block.name)))


def _reversed(name: str) -> tuple[int, ...]:
    """Sorts the highest instance first: others begin with the lowest."""
    return tuple(-ord(letter) for letter in name)


@dataclass(slots=True)
class Enabled:
    """How a block was enabled.

    Attributes:
        resumed: the device was asked for the entries after the last one taken.
        lost: it does not know that entry any more, so that entries were lost.
        interrogable: it answers to GI.
        entries: its reports carry EntryIDs.
        scans: it sends everything with the wanted period by itself.
    """

    resumed: bool = False
    lost: bool = False
    interrogable: bool = False
    entries: bool = False
    scans: bool = False


async def enable(
    link: Association,
    state: BlockState,
    last: Entry | None,
    how: Enabled,
    *,
    integrity: float,
    reserve: float,
    keep: bool,
    data_set: str | None = None,
) -> None:
    """Reserve, configure and enable a block; the caller must be ready for its reports before.

    What is as it should be is not written, because devices empty the buffer of a block that is changed.

    Args:
        link: the association.
        state: what the block says now.
        last: the last entry taken from it, None when it was never ours.
        how: is filled in, before the first report comes.
        integrity: period of its integrity reports in seconds.
        reserve: seconds that a buffered block stays ours after a lost association.
        keep: what it has buffered may be ours: nothing is written that empties it, unless changes would be missed.
            Otherwise it is emptied, since what it has belongs to nobody.
        data_set: data set to give it before, None leaves it as it is.

    Raises:
        DataAccessError: somebody else has the block, or it cannot be enabled.
        MmsError: as `Association.request`.
    """
    block, name = state.block, state.block.name

    async def put(attribute: str, value: IECData, *, optional: bool = False) -> bool:
        try:
            await services.write(link, object_name(f"{name}${attribute}"), value)
        except (DataAccessError, MmsReject, ServiceError):
            if not optional:
                raise
            return False
        return True

    if not block.buffered:
        await put("Resv", BoolData(True))
    elif "ResvTms" in block.attributes:
        try:
            await put("ResvTms", IntData(int(reserve)))
        except DataAccessError as error:
            if error.code != OBJECT_NON_EXISTENT:
                raise
    if data_set is not None and data_set != state.data_set:
        await put("DatSet", VisibleStringData(data_set))
        state.data_set = data_set
        (revision,) = await services.read(link, object_name(f"{name}$ConfRev"))
        state.revision = int(getattr(revision, "value", state.revision))
    needed = _CHANGES if keep else TRIGGERS.value
    if not _has(state.triggers, needed) and await put("TrgOps", TRIGGERS, optional=True):
        state.triggers = TRIGGERS
    wanted = OPTIONS.value if block.buffered else bytes((OPTIONS.value[0] & ~0x03, *OPTIONS.value[1:]))
    if not _has(state.options, wanted) and await put("OptFlds", BitStringData(wanted, 6), optional=True):
        state.options = BitStringData(wanted, 6)
    period = int(integrity * 1000)
    # devices round; what is about right is left alone
    how.scans = state.integrity is not None and abs(state.integrity - period) <= period // 10
    if not how.scans and not keep and state.integrity is not None:
        how.scans = await put("IntgPd", UIntData(period), optional=True)
    triggers = state.triggers.value if state.triggers is not None else b""
    options = state.options.value if state.options is not None else b""
    how.interrogable = bool(triggers and triggers[0] & _GENERAL_INTERROGATION)
    how.entries = bool(options and options[0] & _ENTRY_ID)
    if block.buffered:
        same = last is not None and last.data_set == state.data_set and last.revision == state.revision
        if same and last is not None and last.entry_id:
            how.resumed = await put("EntryID", OctetStringData(last.entry_id), optional=True)
            how.lost = not how.resumed
        elif not keep and "PurgeBuf" in block.attributes:
            await put("PurgeBuf", BoolData(True), optional=True)
    await put("RptEna", BoolData(True))


async def interrogate(link: Association, block: ReportBlock) -> None:
    """Ask a block for everything (DataAccessError when it refuses)."""
    await services.write(link, object_name(f"{block.name}$GI"), BoolData(True))


async def release(link: Association, block: ReportBlock, data_set: str | None = None) -> None:
    """Disable a block and give its reservation back; what the device refuses is left to its own time-outs.

    `data_set`: what it had before it was given another one; None when it was not.
    """
    writes: list[tuple[str, IECData]] = [("RptEna", BoolData(False))]
    if data_set is not None:
        writes.append(("DatSet", VisibleStringData(data_set)))
    if not block.buffered:
        writes.append(("Resv", BoolData(False)))
    elif "ResvTms" in block.attributes:
        writes.append(("ResvTms", IntData(0)))
    for attribute, value in writes:
        try:
            await services.write(link, object_name(f"{block.name}${attribute}"), value)
        except (DataAccessError, MmsReject, ServiceError):
            continue


async def all_states(link: Association, model: Model) -> list[BlockState]:
    """States of all blocks of a device."""
    found = await asyncio.gather(*(read_state(link, model, block) for block in model.blocks))
    return [state for state in found if state is not None]


def _has(bits: BitStringData | None, wanted: bytes) -> bool:
    """Whether all wanted bits are set; more of them do no harm."""
    return bits is not None and all(have & want == want for have, want in zip_longest(bits.value, wanted, fillvalue=0))


def _address(owner: bytes) -> str:
    return ".".join(str(octet) for octet in owner) if len(owner) == 4 else owner.hex()
