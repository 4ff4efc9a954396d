"""Members of the device's data sets that no point takes: which they are, and what they are now when somebody asks."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from address_space import clock
from twin_gateway.drivers.contract import Stray

from . import data_sets, services
from .association import Association
from .discovery import chunks, object_name
from .errors import DataAccessError, ModelError, ServiceError
from .model import Model
from .plan import leaves
from .points import OfferedPoint, Reference, points_of, resolve
from .shown import shown

MOST = 1000
"""Members that are listed."""
MOST_READ = 500
"""Values that are read for one look."""
_OCTETS = 64
"""Of one value in an answer, texts included."""


def reported(model: Model, ours: str) -> dict[str, OfferedPoint]:
    """Points whose value is a member of a data set, or lies in one: value variable -> point; takes its time.

    Args:
        model: of the device.
        ours: what the names of our own data sets begin with.
    """
    members: set[str] = set()
    for name, of in model.data_sets.items():
        if data_sets.is_ours(name, ours):
            continue
        for member in of:
            kind = model.type_of(member)
            if kind is None:
                continue
            try:
                members.update(leaves(member, kind))
            except ModelError:
                continue  # larger than any report: nothing of it is delivered either
    found: dict[str, OfferedPoint] = {}
    for domain in dict.fromkeys(name.partition("/")[0] for name in members):
        for point in points_of(model, domain) if domain in model.nodes else ():
            try:
                value = resolve(model, Reference.parse(point.reference), point.cdc).value
            except ModelError:
                continue  # it has no value of its own
            if value in members:
                found.setdefault(value, point)
    return found


class UnmappedMembers:
    """The list of one device; it outlives associations.

    Attributes:
        dropped: members that found no room.
    """

    def __init__(self) -> None:
        self._reported: dict[str, OfferedPoint] = {}
        self._strays: dict[str, Stray] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._strays)

    def learn(self, found: dict[str, OfferedPoint]) -> None:
        """What the device that is connected now reports."""
        self._reported = found

    def renew(self, mapped: Set[str]) -> None:
        """Points take these value variables now; the others are strays."""
        free = [name for name in self._reported if name not in mapped]
        self.dropped = max(len(free) - MOST, 0)
        before, now = self._strays, clock.now()
        self._strays = {name: before.get(name) or self._stray(name, now) for name in free[:MOST]}

    def _stray(self, name: str, now: int) -> Stray:
        point = self._reported[name]
        return Stray({"ref": point.reference}, "unmapped member", 0, now, now, cdc=point.cdc)

    def list(self) -> list[Stray]:
        """Everything, in the order of the device."""
        return list(self._strays.values())

    async def read(self, link: Association) -> None:
        """Bring the values up to date.

        Raises:
            MmsConnectionError, MmsTimeout: the association failed.
        """
        for names in chunks(link, ((name, _OCTETS) for name in list(self._strays)[:MOST_READ])):
            try:
                values = await services.read(link, *map(object_name, names))
            except ServiceError:
                continue  # one that cannot be read spoils the others; they are listed without a value
            now = clock.now()
            for name, value in zip(names, values, strict=False):
                known = self._strays.get(name)
                if known is not None and not isinstance(value, DataAccessError):
                    self._strays[name] = replace(known, value=shown(value), last=now)
