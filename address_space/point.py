"""Points and samples: what a point is (profile), where it comes from, and the batches that drivers deliver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from address_space.catalogue import PointClass, ValueType, VariableKind
from address_space.units import Unit

Rows = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint32]
Ticks = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Raw = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class PointProfile:
    """What many points have in common; interned by the point table.

    Attributes:
        cdc: common data class of the point.
        value_type: OPC UA built-in type of the value.
        kind: OPC UA VariableType.
        enumeration: enumeration of a multi-state point.
        unit: unit of the published value; None when it has none.
        gain, bias: published = delivered * gain + bias (scale, offset and unit conversion in one).
        deadband: changes of an analog value smaller than this (published units) are not passed on; 0 passes all.
        stale_after: seconds without a sample after which the value counts as old; 0 never.
        invert: the device's states are the other way round (boolean or double point).
        controllable: a command binding exists.
        low, high: range for percent deadbands and displays (published units), where known.
    """

    cdc: str
    value_type: ValueType
    kind: VariableKind
    enumeration: str | None = None
    unit: Unit | None = None
    gain: float = 1.0
    bias: float = 0.0
    deadband: float = 0.0
    stale_after: float = 0.0
    invert: bool = False
    controllable: bool = False
    low: float | None = None
    high: float | None = None

    @staticmethod
    def of(point_class: PointClass, unit: Unit | None = None) -> PointProfile:
        """The plain profile of a catalogue entry."""
        cdc = point_class.cdc
        if cdc.value_type is None:
            raise ValueError(f"{cdc.name} is a container, not a point")
        return PointProfile(cdc.name, cdc.value_type, cdc.kind, point_class.enumeration, unit)

    def same_node(self, other: PointProfile) -> bool:
        """Whether a point stays the node that it is with the other profile: type, VariableType, common data class."""
        return (self.value_type, self.kind, self.cdc) == (other.value_type, other.kind, other.cdc)


@dataclass(frozen=True, slots=True)
class Point:
    """One point to be put into the table.

    Attributes:
        address: canonical text of the technological address.
        profile: see `PointProfile`.
        link: name of the link that delivers it; empty for points of the service itself.
        source: where in the link, as the protocol's alias scheme packs it.
        display_name: readable name for those who ask for no language, or for one that there is no name in.
        display_names: (LocaleId, name) in further languages.
    """

    address: str
    profile: PointProfile
    link: str = ""
    source: int | str = 0
    display_name: str = ""
    aliases: tuple[str, ...] = ()
    display_names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one point, as read from the table: the OPC UA DataValue with the raw quality.

    Attributes:
        value: bool, int, float or str; None before the first sample.
        status: OPC UA StatusCode.
        source_time: FILETIME ticks of the device.
        received: FILETIME ticks of the gateway.
        quality: the quality word of `address_space.quality`.
    """

    value: bool | int | float | str | None
    status: int
    source_time: int
    received: int
    quality: int


@dataclass(frozen=True, slots=True)
class TextSample:
    """A sample of a text point; `quality` and `source_time` as in `Batch`."""

    row: int
    text: str
    quality: int = 0
    source_time: int = 0


@dataclass(slots=True)
class Batch:
    """Samples of one link in columns, as a driver delivers them.

    Attributes:
        rows: row of each sample, int32; a row may occur more than once, in order of time.
        values: the numbers as float64, before gain and bias; booleans 0 and 1.
        quality: quality word of each, uint32, with the time flags that the device gave.
        source_time: device time in FILETIME ticks, int64; 0 where the device gave none.
        late: the samples were replayed from a buffer; they go to the late journal and never become the live value.
        texts: samples of text points.
    """

    rows: Rows
    values: Floats
    quality: Words
    source_time: Ticks
    late: bool = False
    texts: Sequence[TextSample] = field(default=())

    @staticmethod
    def of(
        rows: Sequence[int],
        values: Sequence[float],
        quality: Sequence[int] | int = 0,
        source_time: Sequence[int] | int = 0,
        *,
        late: bool = False,
        texts: Sequence[TextSample] = (),
    ) -> Batch:
        """A batch from Python sequences; a single quality or time counts for all."""
        count = len(rows)
        return Batch(
            np.asarray(rows, np.int32),
            np.asarray(values, np.float64),
            np.full(count, quality, np.uint32) if isinstance(quality, int) else np.asarray(quality, np.uint32),
            np.full(count, source_time, np.int64)
            if isinstance(source_time, int)
            else np.asarray(source_time, np.int64),
            late,
            texts,
        )
