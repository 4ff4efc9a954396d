"""What to take out of a data set: which leaf of which member is the value, the quality and the time of which point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from open61850.mms.types import ArrayType, MmsType, StructureType

from address_space import units
from address_space.quality import Quality

from .errors import ModelError

MAX_MEMBER_LEAVES = 65_536


@dataclass(frozen=True, slots=True)
class Signal:
    """One point of the device as MMS variables, all named `domain/LN$FC$DO$…`.

    Attributes:
        row: row of the point table to publish under.
        value: the variable of the primary attribute.
        quality: the variable of `q`; None when the data object has none.
        time: the variable of `t`; None when the data object has none.
        text: whether the point is a text; other points are numbers.
        gain, bias: delivered = value x gain + bias (the device's own multiplier, scale factor, pulse quantity).
    """

    row: int
    value: str
    quality: str | None = None
    time: str | None = None
    text: bool = False
    gain: float = 1.0
    bias: float = 0.0


def leaves(name: str, kind: MmsType) -> list[str]:
    """Names of the leaves of a variable in the order of its octets (`name$mag$f`, arrays `name(3)$f`).

    Raises:
        ModelError: when it has more than `MAX_MEMBER_LEAVES`.
    """
    return [leaf for leaf, _ in leaves_with_types(name, kind)]


def leaves_with_types(name: str, kind: MmsType) -> list[tuple[str, MmsType]]:
    """The same with the type of each (ModelError as `leaves`)."""
    found: list[tuple[str, MmsType]] = []
    stack: list[tuple[str, MmsType]] = [(name, kind)]
    while stack:
        here, of = stack.pop()
        if isinstance(of, StructureType):
            stack.extend((f"{here}${part}", inner) for part, inner in reversed(of.components))
        elif isinstance(of, ArrayType):
            if of.count > MAX_MEMBER_LEAVES:
                raise ModelError(f"{name} is an array of {of.count} elements")
            stack.extend((f"{here}({index})", of.element) for index in range(of.count - 1, -1, -1))
        else:
            found.append((here, of))
        if len(found) + len(stack) > 2 * MAX_MEMBER_LEAVES:
            raise ModelError(f"{name} has more than {MAX_MEMBER_LEAVES} leaves")
    return found


class Plan:
    """A data set, or the variables of one poll, compiled for the decoder.

    Attributes:
        members: names of the members, in order.
        counts: leaves of each member.
        bases: number of the first leaf of each member, and behind the last one the number of all leaves.
        signals: the signals that the members cover, value and quality both.
        value, quality, time: leaf numbers of each signal; -1 for none.
        rows, text, bias: as in `Signal`, in columns.
        numerator, denominator: the gain of each signal as a fraction (`units.as_fraction`).
        plain: no signal has a gain or a bias.
        split: value, quality or time of a signal lie in different members, so that one may come without the other.
    """

    def __init__(self, members: Sequence[tuple[str, MmsType]], signals: Sequence[Signal]) -> None:
        self.members = [name for name, _ in members]
        names = [leaves(name, kind) for name, kind in members]
        self.counts = np.array([len(of) for of in names], np.int64)
        self.bases = np.concatenate((np.zeros(1, np.int64), np.cumsum(self.counts)))
        number: dict[str, int] = {}
        for base, of in zip(self.bases.tolist(), names, strict=False):
            for index, leaf in enumerate(of):
                number.setdefault(leaf, base + index)
        taken = [s for s in signals if s.value in number and (s.quality is None or s.quality in number)]
        self.signals = taken
        self.rows = np.array([s.row for s in taken], np.int32)
        self.value = np.array([number[s.value] for s in taken], np.int64)
        self.quality = np.array([number[s.quality] if s.quality is not None else -1 for s in taken], np.int64)
        self.time = np.array([number.get(s.time, -1) if s.time is not None else -1 for s in taken], np.int64)
        self.text = np.array([s.text for s in taken], np.bool_)
        fractions = np.array([units.as_fraction(s.gain) for s in taken], np.float64).reshape(-1, 2)
        self.numerator, self.denominator = np.ascontiguousarray(fractions.T)
        self.bias = np.array([s.bias for s in taken], np.float64)
        self.plain = bool((fractions == 1).all() and (self.bias == 0).all())
        home = np.searchsorted(self.bases, self.value, side="right")
        apart = np.zeros(len(taken), np.bool_)
        for other in (self.quality, self.time):
            apart |= (other >= 0) & (np.searchsorted(self.bases, other, side="right") != home)
        self.split = bool(apart.any())
        # what is known of split points whose other part has not come with this report; only the decoder writes here
        self.last_value = np.full(len(taken), np.nan)
        self.last_quality = np.full(len(taken), int(Quality.NOT_INITIALISED), np.uint32)
        self.last_time = np.zeros(len(taken), np.int64)
        self.last_flags = np.zeros(len(taken), np.uint32)
        self.seen = np.zeros(len(taken), np.bool_)

    def remember(self, of: Plan) -> None:
        """Take over what another plan knows of the same points."""
        _, here, there = np.intersect1d(self.rows, of.rows, return_indices=True)
        for name in ("last_value", "last_quality", "last_time", "last_flags", "seen"):
            getattr(self, name)[here] = getattr(of, name)[there]
