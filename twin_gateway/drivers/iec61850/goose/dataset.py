"""The data set of a subscription, by the mapping and the SCL file: what messages must carry, where points lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from open61850.mms.types import MmsType, PrimitiveType
from open61850.scl import GooseControlBlock

from address_space.catalogue import ValueType
from twin_gateway.drivers.contract import BoundPoint

from ..errors import ModelError
from ..model import Model
from ..plan import Plan, Signal, leaves
from ..points import Reference, points_of, resolve, scaling
from ..scl import read_ieds, read_scl
from .config import GooseConfig, GooseSubscription
from .stream import Expected

_BESIDE = frozenset({"q", "t"})


@dataclass(slots=True)
class DataSet:
    """A subscription with all that is known of it.

    Attributes:
        expected: what its messages must carry.
        members: MMS names of the members with their types.
        model: of the publisher; None without an SCL file.
        names: leaves of the members.
    """

    expected: Expected
    members: list[tuple[str, MmsType]]
    model: Model | None = None
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = frozenset(leaf for name, kind in self.members for leaf in leaves(name, kind))

    def same_as(self, other: DataSet) -> bool:
        """Whether the same is expected and the members lie in the same places."""
        return self.expected == other.expected and self.members == other.members

    def plan(self, points: Iterable[BoundPoint]) -> tuple[Plan, list[tuple[BoundPoint, str]]]:
        """What to take out of each message for these points, and those it has nothing for, with the reason."""
        signals: list[Signal] = []
        broken: list[tuple[BoundPoint, str]] = []
        for point in points:
            try:
                signals.append(self._signal(point))
            except ModelError as error:
                broken.append((point, str(error)))
        return Plan(self.members, signals), broken

    def offers(self) -> list[tuple[str, str]]:
        """(reference, CDC) of every point that the data set has a value for."""
        if self.model is None:
            return [(_reference(name), "") for name, _ in self.members if name.rpartition("$")[2] not in _BESIDE]
        found: list[tuple[str, str]] = []
        for domain in dict.fromkeys(name.partition("/")[0] for name in self.names):
            for point in points_of(self.model, domain):
                try:
                    source = resolve(self.model, Reference.parse(point.reference), point.cdc)
                except ModelError:
                    continue  # it has no value of its own
                if source.value in self.names:
                    found.append((point.reference, point.cdc))
        return found

    def _signal(self, point: BoundPoint) -> Signal:
        if self.model is None:
            return self._named(point)
        source = resolve(self.model, Reference.parse(str(point.fields["ref"])), point.cdc)
        if source.value not in self.names:
            raise ModelError(f"{source.value} is not in the data set")
        gain, bias = 1.0, 0.0
        if point.unit is None or source.scaled:
            gain, bias = scaling(source, self.model.constants, point.cdc, point.quantity)
        return Signal(
            point.row, source.value, self._present(source.quality), self._present(source.time), source.text, gain, bias
        )

    def _named(self, point: BoundPoint) -> Signal:
        """By the names of the members alone: the attribute itself, or the only one of the data object."""
        reference = str(point.fields["ref"])
        wanted = _variable(reference)
        inside = [name for name in self.names if name.startswith(wanted + "$")]
        values = [wanted] if wanted in self.names else [n for n in inside if n.rpartition("$")[2] not in _BESIDE]
        if len(values) != 1:
            what = "is not in the data set" if not values else f"has {len(values)} values in the data set: name one"
            raise ModelError(f"{reference} {what}")
        beside: dict[str, str] = {}
        path = values[0].split("$")
        for length in range(len(path) - 1, 1, -1):
            for name in _BESIDE:
                if (leaf := "$".join((*path[:length], name))) in self.names:
                    beside.setdefault(name, leaf)
        return Signal(point.row, values[0], beside.get("q"), beside.get("t"), text=point.value_type is ValueType.STRING)

    def _present(self, name: str | None) -> str | None:
        return name if name in self.names else None


def data_sets(config: GooseConfig) -> dict[str, DataSet | ModelError]:
    """The data set of each subscription, or why it is not known; reads the SCL file: call it outside the event loop."""
    blocks: dict[str, GooseControlBlock] = {}
    fault = ""
    if config.scl is not None:
        try:
            blocks = _blocks(Path(config.scl))
        except ModelError as error:
            fault = str(error)
    found: dict[str, DataSet | ModelError] = {}
    model_of = cache(partial(read_scl, Path(config.scl or "")))  # one reading for all data sets of an IED
    for name, subscription in config.subscriptions.items():
        try:
            found[name] = _data_set(subscription, blocks.get(subscription.control_block), config.scl, model_of)
        except ModelError as error:
            found[name] = ModelError(fault or str(error))
    return found


def faults(config: GooseConfig, points: Sequence[BoundPoint]) -> list[tuple[BoundPoint, str]]:
    """Points that nothing could be delivered for, each with the reason; reads the SCL file."""
    found: list[tuple[BoundPoint, str]] = []
    for name, data in data_sets(config).items():
        mine = [point for point in points if point.fields["subscription"] == name]
        if isinstance(data, ModelError):
            found.extend((point, str(data)) for point in mine)
        else:
            found.extend(data.plan(point for point in mine if point.fields.get("ref") is not None)[1])
    return found


def _blocks(path: Path) -> dict[str, GooseControlBlock]:
    """GOOSE control blocks of an SCL file by their reference."""
    return {block.gocb_ref: block for ied in read_ieds(path) for block in ied.goose_controls}


def _data_set(
    said: GooseSubscription, block: GooseControlBlock | None, scl: str | None, model_of: Callable[[str], Model]
) -> DataSet:
    address = block.address if block is not None else None
    destination = said.destination or (address.mac if address is not None else None)
    app_id = said.app_id if said.app_id is not None else address.app_id if address is not None else None
    if destination is None or app_id is None:
        where = f"the SCL file has no address of {said.control_block}" if scl else "destination and app_id are needed"
        raise ModelError(where)
    data_set = said.data_set or (block.data_set_reference if block is not None else None)
    model: Model | None = None
    members: Sequence[tuple[str, MmsType]]
    if said.members:
        members = [(_variable(text), PrimitiveType("unknown")) for text in said.members]
    elif block is not None:
        model = model_of(block.ied_name)
        members = _members(model, data_set)
    else:
        raise ModelError(f"nothing says what the data set of {said.control_block} holds")
    expected = Expected(
        said.control_block,
        _octets(destination),
        app_id,
        data_set,
        said.go_id or (block.go_id if block is not None else None),
        said.conf_rev if said.conf_rev is not None else block.conf_rev if block is not None else None,
        said.vlan if said.vlan is not None else address.vlan_id if address is not None else None,
        _octets(said.source) if said.source is not None else None,
        len(members),
    )
    return DataSet(expected, list(members), model)


def _members(model: Model, data_set: str | None) -> list[tuple[str, MmsType]]:
    names = model.data_sets.get(data_set or "")
    if not names:
        raise ModelError(f"the SCL file has no data set {data_set!r}")
    found: list[tuple[str, MmsType]] = []
    for name in names:
        kind = model.type_of(name)
        if kind is None:
            raise ModelError(f"the SCL file has no type of {name}")
        found.append((name, kind))
    return found


def _variable(reference: str) -> str:
    """`LD0/XCBR1.Pos.stVal` as a name of the kind that plans have; the constraint is left out."""
    return reference.partition("[")[0].replace(".", "$")


def _reference(variable: str) -> str:
    return variable.replace("$", ".")


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", "").replace("-", ""))
