"""The driver contract: what a field-protocol driver declares, gets and owes.

Obligations of every driver (the contract suite in `tests/contract` checks them):

* `run` connects, keeps the association and publishes until it drops; it then returns or raises, and cleans up after
  itself also when it is cancelled at any await. It never reconnects by itself: the link supervisor does. One that keeps
  several connections to a device renews those that stand by, and returns when none is left.
* It calls `link.up()` when the device really answers (STARTDT confirmed, associated, first response), never before.
* It publishes batches: quality and source time are the device's own. It never invents a Good.
* One bad frame, point or payload costs one counted error and nothing else.
* `execute` answers only with the device's own confirmation or refusal. No answer in time is BadTimeout with
  `sent=True`: outcome unknown, never repeated. It never queues a command for later: no association, no command.
* It hands what it reads and writes to `link.traffic`, so that an engineer can look at it.
* Nothing blocks the event loop; every wait for the peer has a time-out; every buffer has a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from address_space.catalogue import ValueType
from address_space.point import Batch
from address_space.ports import Outcome, Verb
from twin_gateway.drivers.capture import Flow


class FieldKind(StrEnum):
    """Kinds of a protocol field of a point line."""

    INT = "int"
    NUMBER = "number"
    TEXT = "text"
    CHOICE = "choice"
    BOOL = "bool"
    DURATION = "duration"  # text with a unit, delivered as float seconds


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field that a protocol adds to a point line or its `control`.

    Attributes:
        name: key in the mapping file.
        kind: how it is read; integer fields also take ranges (`1020..1022`) and arithmetic (`{ioa+1}`).
        low, high: bounds of numbers, inclusive.
        choices: allowed texts of a choice.
        pattern: regular expression that a text must match as a whole.
        help: one line for hints and the editor schema.
    """

    name: str
    kind: FieldKind
    required: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    help: str = ""


class DeviceConfig(BaseModel):
    """Base of a protocol's device section; fields that every device has. Durations are float seconds.

    Attributes:
        display_name: readable name of the device and its link.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    display_name: str | None = None

    @property
    def way(self) -> str:
        """What several devices may be reached over, and be lost together (a concentrator): the same text for each."""
        return ""


@dataclass(frozen=True, slots=True)
class BoundPoint:
    """One point of a device as the driver sees it.

    Attributes:
        row: row of the point table to publish under.
        address: the technological address.
        cdc: common data class of the point itself.
        value_type: what the table stores; drivers deliver every number as float64.
        fields: validated protocol fields (`ioa`, `ref`, `obis`, `path`, …).
        control: validated control fields with `model`; None when the point is not commanded.
        quantity: physical quantity of an analog point; None where the catalogue does not know.
        unit: the unit the mapping says the device delivers; the table then converts. None: the driver delivers the
            canonical unit of `address_space.units` (it knows the device's own unit, or there is none).
        stale_after: seconds after which a value counts as old; None when not supervised.
    """

    row: int
    address: str
    cdc: str
    value_type: ValueType
    fields: Mapping[str, Any]
    control: Mapping[str, Any] | None = None
    quantity: str | None = None
    unit: str | None = None
    stale_after: float | None = None


@dataclass(frozen=True, slots=True)
class DeviceCommand:
    """A command that has passed the gates, for the device.

    Attributes:
        value: in the device's unit (scale and offset already undone); double points 1 off, 2 on; None for cancel.
        test: the device is told that it is a test; a driver whose protocol cannot say so refuses.
        origin_category: 61850 orCat (3 remote control, 6 automatic remote).
        origin: identity of the originator, at most 64 octets.
        timeout: seconds to wait for the device's confirmation.
        send_within: seconds within which it must leave; a driver that is busy so long drops it, unsent.
    """

    verb: Verb
    point: BoundPoint
    value: bool | int | float | None
    command_id: str
    test: bool = False
    interlock_check: bool = True
    synchro_check: bool = True
    origin_category: int = 3
    origin: bytes = b"twin-gateway"
    timeout: float = 10.0
    send_within: float = 2.0


@dataclass(frozen=True, slots=True)
class PointChange:
    """Points added to and removed from a running device."""

    added: Sequence[BoundPoint] = ()
    removed: Sequence[BoundPoint] = ()


@dataclass(frozen=True, slots=True)
class DiscoveredPoint:
    """A point that the device itself offers: where it is and what it seems to be."""

    fields: Mapping[str, Any]
    description: str = ""
    cdc: str = ""
    unit: str = ""


class Link(Protocol):
    """What a running driver may use of the link supervisor."""

    @property
    def name(self) -> str:
        """Name of the device, also of its link."""
        ...

    @property
    def data_directory(self) -> Path:
        """Where the driver may keep small durable things (counters, entry ids); exists, private to the service."""
        ...

    def up(self) -> None:
        """The device answers; idempotent."""
        ...

    def publish(self, batch: Batch) -> None:
        """Put samples into the table; never blocks."""
        ...

    def event(
        self,
        code: str,
        text: str,
        *,
        severity: int = 400,
        address: str = "",
        source_time: int = 0,
        time_quality: str | None = None,
    ) -> None:
        """Put an event into the event journal; `code` of the alarm list (`D08`) or a short word (`late`).

        `source_time` is the device's own time in FILETIME ticks, with `time_quality`; 0 where it gives none.
        """
        ...

    def count(self, counter: str, by: int = 1) -> None:
        """Add to a counter of the link (`asdu_errors`, `timeouts`, …); shown in metrics and under `_sys`."""
        ...

    def kept_until(self) -> int:
        """FILETIME ticks: what was published before is on disk, as far as anything is kept at all.

        What a device would send again (EntryIDs, positions in profiles) is written down as done only then.
        """
        ...

    def error(self, text: str, address: str = "") -> None:
        """Note the last error of a point, of the link itself without an address.

        One sentence, shown to engineers. It is no event and not counted: `event` and `count` are for that.
        """
        ...

    def connected(self, flow: Flow) -> None:
        """Say between whom the octets go that are handed to `traffic` from now on."""
        ...

    def traffic(self, sent: bool, octets: bytes) -> None:
        """Keep octets just read from or written to the wire in the link's capture ring.

        Called once a read or write, with what stands inside TLS; never with keys.
        """
        ...


class Driver(Protocol):
    """One field association. Never blocks the loop; safe to cancel at any await."""

    async def run(self, link: Link) -> None:
        """Connect and deliver until the association ends. Returns or raises when it drops."""
        ...

    async def execute(self, command: DeviceCommand) -> Outcome:
        """Carry out a command and await the device's own answer. Never raises for a refusal."""
        ...

    async def update(self, change: PointChange) -> None:
        """Add and remove points without reconnecting."""
        ...

    async def discover(self) -> Sequence[DiscoveredPoint]:
        """What the device itself offers; needs an association. Raises ConnectionError without one."""
        ...


class LinkService(StrEnum):
    """What a person may ask of a link beside commands."""

    INTERROGATE = "interrogate"  # deliver every value anew (general interrogation, or reading everything once)
    SYNCHRONISE = "synchronise"  # set the device's clock
    COUNTERS = "counters"  # read the counters, as configured
    TEST = "test"  # ask whether the device's application answers, not its connection only


@runtime_checkable
class ServingDriver(Protocol):
    """Offered by drivers that have services; the others need no such method."""

    async def serve(self, service: LinkService) -> Outcome:
        """Run a service and await the device's answer. BadNotSupported for what the protocol does not have."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceFile:
    """A file that a device offers.

    Attributes:
        name: as the device calls it, with its folders; what `fetch_file` takes.
        size: octets; -1 when it is not known.
        modified: FILETIME ticks of the last change by the device's clock; 0 when it is not known.
    """

    name: str
    size: int = -1
    modified: int = 0


@runtime_checkable
class FileServingDriver(Protocol):
    """Offered by drivers whose devices have files (disturbance records); the others need no such method."""

    async def list_files(self, path: str) -> tuple[Outcome, Sequence[DeviceFile]]:
        """Files in a folder of the device, empty for all; BadNotSupported where it offers none."""
        ...

    async def fetch_file(self, name: str) -> Outcome:
        """Bring a file to `<data_directory>/files/<link>/`; the text says where. Tells its progress by events."""
        ...


class DeviceTable(StrEnum):
    """What can be read of a device as a list of lines beside its points."""

    SETTING_GROUPS = "setting groups"
    SETTINGS = "settings"
    LOGS = "logs"
    LOG = "log"
    UNMAPPED = "unmapped"  # what came and no point takes
    OBJECTS = "objects"  # how often each object comes
    OBJECT = "object"  # one object, asked for now


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """One line of such a list: what it is about, what the device says, and more about it (a time, a type)."""

    item: str
    value: str
    note: str = ""


@runtime_checkable
class TableServingDriver(Protocol):
    """Offered by drivers of devices with such lists; the others need no such method."""

    async def read_table(self, table: DeviceTable, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        """Read a list; `about` narrows it (a logical device, a log). BadNotSupported for what is not offered."""
        ...


@dataclass(frozen=True, slots=True)
class ModelDifference:
    """Where a device is otherwise than its description; an empty text stands for what is missing there."""

    item: str
    expected: str
    found: str


@runtime_checkable
class ComparedDriver(Protocol):
    """Offered by drivers that compare the device with a description of it (SCL, a template)."""

    @property
    def differences(self) -> Sequence[ModelDifference]:
        """What the last comparison found; empty before the first one."""
        ...


@dataclass(frozen=True, slots=True)
class Stray:
    """Something that a device sent, or offers unasked, and no point takes.

    Attributes:
        fields: where it is and what type it has, in the protocol's own fields as of a point line; of a device that is
            not known its fields as of a device section.
        reason: `unknown type`, `unknown station`, `unknown address`, `other type`, `unmapped member`,
            `unmapped object`, `unmapped resource`, or one of `NEW_DEVICES`.
        count: how often it came; 0 where that is not counted.
        first, last: FILETIME ticks of reception; 0 where they are not known.
        value: the last value as text; empty where it cannot be read.
        cdc, unit: common data class and unit as far as the device tells them.
        about: what it says of itself, in a few words.
    """

    fields: Mapping[str, Any]
    reason: str
    count: int
    first: int
    last: int
    value: str = ""
    cdc: str = ""
    unit: str = ""
    about: str = ""


NEW_DEVICES = frozenset({"unknown meter", "unknown endpoint", "unknown publisher"})
"""Reasons of strays that are devices, not data of one."""


@runtime_checkable
class StrayKeepingDriver(Protocol):
    """Offered by drivers to which devices send what nobody has mapped."""

    @property
    def unmapped_count(self) -> int:
        """How much is listed; cheap, as it is asked every second."""
        ...

    @property
    def unmapped_dropped(self) -> int:
        """How much found no room in the list, or had to make room."""
        ...

    def unmapped(self) -> Sequence[Stray]:
        """The newest of what came and no point takes, bounded, newest last; also without an association."""
        ...


@runtime_checkable
class StrayReadingDriver(Protocol):
    """Offered by drivers that have to ask the device for what it offers unasked, or for its values."""

    async def read_unmapped(self) -> None:
        """Bring the list up to date, bounded. Raises OSError or TimeoutError when the device does not answer."""
        ...


@runtime_checkable
class RetiringDriver(Protocol):
    """Offered by drivers that hold something beyond a run (a socket where devices send to); others need none."""

    def retire(self) -> None:
        """The link ends for good: give everything up. `run` may still be called afterwards."""
        ...


@runtime_checkable
class RedundantDriver(Protocol):
    """Offered by drivers that may be connected to a device more than once."""

    @property
    def redundant(self) -> bool:
        """The device has more than one connection."""
        ...

    @property
    def redundancy_alive(self) -> bool:
        """A connection beside the used one stands and is ready to take over."""
        ...


class LinkLost(ConnectionError):  # noqa: N818 - named for what happened, like the built-in ConnectionResetError
    """The association ended; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class ProtocolSpec:
    """A protocol as mapping files and the gateway see it; declared in `<protocol>/config.py` without heavy imports.

    Attributes:
        name: `iec104`, the value of `protocol:`.
        scheme: alias scheme, `104`.
        config: pydantic model of the device section.
        point_fields: fields that a point line may or must have.
        control_fields: fields of the mapping form of `control`; `model` is one of `control_models` and always allowed.
        control_models: texts that the short form `control: sbo-enhanced` may say.
        driver: `module:Class`; the class is called with (name, config, points).
        cdcs: which CDCs the fields of a point can feed, for CDC-against-type checks; None means any.
        source: the binding of a point inside its link, an integer (cheaper) or a text; equal for equal protocol points.
        alias: alias value (without the scheme) of (link name, config, source).
        unalias: (link name or None, source) of an alias value; None when it is not of the scheme.
        command_source: like `source`, for the command binding of (config, fields, control).
        check: further problems of one point as (field name, message) pairs; empty when fine.
        check_device: the same for the device section.
        counters: data objects of the link's `twLINK1` beside those of every link -> the counters that add up to them.
    """

    name: str
    scheme: str
    config: type[DeviceConfig]
    point_fields: tuple[FieldSpec, ...]
    control_fields: tuple[FieldSpec, ...]
    control_models: tuple[str, ...]
    driver: str
    source: Callable[[Any, Mapping[str, Any]], int | str]
    alias: Callable[[str, Any, int | str], str]
    unalias: Callable[[str], tuple[str | None, int | str] | None]
    command_source: Callable[[Any, Mapping[str, Any], Mapping[str, Any]], int | str]
    cdcs: Callable[[Mapping[str, Any]], frozenset[str] | None] = lambda _fields: None
    check: Callable[[Any, Mapping[str, Any]], Sequence[tuple[str, str]]] = lambda _config, _fields: ()
    check_device: Callable[[Any], Sequence[tuple[str, str]]] = lambda _config: ()
    secret_fields: frozenset[str] = field(default_factory=frozenset)
    counters: Mapping[str, Sequence[str]] = field(default_factory=dict)
