"""What mapping files may say of GOOSE subscriptions and their points, and how these become aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from twin_gateway.drivers.contract import DeviceConfig, FieldKind, FieldSpec, ProtocolSpec
from twin_gateway.durations import Seconds

from ..config import REFERENCE

_NAME = r"[A-Za-z][A-Za-z0-9_\-]{0,63}"
_BLOCK = r"[A-Za-z0-9_]{1,64}/[A-Za-z0-9_]{1,32}\$GO\$[A-Za-z0-9_]{1,32}"
_MAC = r"^[0-9A-Fa-f]{2}([:\-][0-9A-Fa-f]{2}){5}$"
_ALIAS = re.compile(rf"({_BLOCK}|{_NAME})[/#]({REFERENCE}|[A-Za-z]+)")
ITEMS: Final[Mapping[str, str]] = {
    "St": "SPS",
    "SimSt": "SPS",
    "NdsCom": "SPS",
    "LastStNum": "INS",
    "ConfRevNum": "INS",
    "RxConfRevNum": "INS",
    "GoCBRef": "ORG",
}
"""Data objects of LGOS that the gateway itself gives for a subscription, and their common data classes."""
MAX_SUBSCRIPTIONS = 64


class GooseSubscription(BaseModel):
    """One GOOSE control block that is listened to. What is left out comes from the SCL file, or is not checked.

    Attributes:
        control_block: GoCBRef as in the messages, `F07Q1LD0/LLN0$GO$gcbTrip`.
        destination: multicast address, `01-0C-CD-01-00-01`.
        app_id: APPID of the messages, `0x3001`.
        data_set: DatSet as in the messages, `F07Q1LD0/LLN0$dsTrip`.
        go_id: GoID of the messages.
        conf_rev: ConfRev that the members were taken from.
        vlan: VLAN of the messages; a frame that comes without one, as from an access port, is taken too.
        source: MAC address of the only publisher; without it the first one heard is, until it falls silent.
        members: attributes of the data set in their order, `LD0/XCBR1.Pos.stVal`; needed without an SCL file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    control_block: str = Field(pattern=f"^{_BLOCK}$")
    destination: str | None = Field(default=None, pattern=_MAC)
    app_id: int | None = Field(default=None, ge=0, le=0xFFFF)
    data_set: str | None = Field(default=None, min_length=1, max_length=129)
    go_id: str | None = Field(default=None, min_length=1, max_length=129)
    conf_rev: int | None = Field(default=None, ge=0, le=0xFFFF_FFFF)
    vlan: int | None = Field(default=None, ge=0, le=4095)
    source: str | None = Field(default=None, pattern=_MAC)
    members: tuple[Annotated[str, Field(pattern=f"^{REFERENCE}$")], ...] = Field(default=(), max_length=512)


class GooseConfig(DeviceConfig):
    """Device section of `protocol: goose`: what is listened to on one network interface. Times are seconds.

    Attributes:
        interface: network interface of the station bus.
        scl: SCL file with the publishers: addresses, data sets and types.
        subscriptions: by a name that the points refer to.
        simulation: take messages marked as simulated (as LPHD.Sim does), with quality simulated; otherwise they are
            counted and told, and change no value.
        tolerance: added to the time allowed to live, for delays of this machine.
        idle: silence of all publishers after which the link counts as lost.
        capture: Unix socket of the capture service; without it the gateway starts the capture process itself.
    """

    interface: str = Field(pattern=r"^[^\s/]{1,15}$")
    scl: str | None = None
    subscriptions: dict[Annotated[str, Field(pattern=f"^{_NAME}$")], GooseSubscription] = Field(
        min_length=1, max_length=MAX_SUBSCRIPTIONS
    )
    simulation: bool = False
    tolerance: Seconds = 0.1
    idle: Seconds = 10.0
    capture: str | None = Field(default=None, min_length=1, max_length=100)


def source_of(config: Any, fields: Mapping[str, Any]) -> str:
    """Source of a point: `F07Q1LD0/LLN0$GO$gcbTrip/LD0/XCBR1.Pos`, of one of the subscription itself `…#St`."""
    name = str(fields.get("subscription", ""))
    subscription = config.subscriptions.get(name) if config is not None else None
    block = name if subscription is None else subscription.control_block
    return f"{block}#{fields['item']}" if fields.get("item") is not None else f"{block}/{fields.get('ref', '')}"


def _alias(_link: str, _config: Any, source: int | str) -> str:
    return str(source)


def _unalias(value: str) -> tuple[str | None, str] | None:
    return (None, value) if _ALIAS.fullmatch(value) else None


def _command_source(config: Any, fields: Mapping[str, Any], _control: Mapping[str, Any]) -> str:
    return source_of(config, fields)


def _cdcs(fields: Mapping[str, Any]) -> frozenset[str] | None:
    item = fields.get("item")
    return None if item is None else frozenset((ITEMS[str(item)],))


def _check(config: Any, fields: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    name, item = str(fields["subscription"]), fields.get("item")
    subscription = config.subscriptions.get(name)
    if subscription is None:
        return [("subscription", f"no subscription {name!r} here; there are {', '.join(config.subscriptions)}")]
    if (item is None) == (fields.get("ref") is None):
        return [("subscription", "a point has either ref, a data object of the data set, or item, one of LGOS")]
    if item == "ConfRevNum" and subscription.conf_rev is None and config.scl is None:
        return [("item", f"nobody says which ConfRev is expected: add conf_rev to {name}, or an SCL file")]
    return ()


def _check_device(config: Any) -> Sequence[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    blocks: dict[str, str] = {}
    for name, subscription in config.subscriptions.items():
        first = blocks.setdefault(subscription.control_block, name)
        if first != name:
            found.append((f"subscriptions.{name}.control_block", f"{first} listens to the same control block"))
        if subscription.destination is not None and not int(subscription.destination[:2], 16) & 1:
            found.append((f"subscriptions.{name}.destination", "GOOSE messages go to a multicast address"))
        if config.scl is None:
            missing = [key for key in ("destination", "app_id", "members") if getattr(subscription, key) in (None, ())]
            if missing:
                what = f"without an SCL file it needs {', '.join(missing)}"
                found.append((f"subscriptions.{name}", what))
    return found


SPEC = ProtocolSpec(
    name="goose",
    scheme="goose",
    config=GooseConfig,
    point_fields=(
        FieldSpec("subscription", FieldKind.TEXT, required=True, pattern=_NAME, help="name of the subscription"),
        FieldSpec("ref", FieldKind.TEXT, pattern=REFERENCE, help="data object of the data set, as in LD0/XCBR1.Pos"),
        FieldSpec("item", FieldKind.CHOICE, choices=tuple(ITEMS), help="data object of LGOS, said by the gateway"),
    ),
    control_fields=(),
    control_models=(),
    driver="twin_gateway.drivers.iec61850.goose.driver:GooseDriver",
    source=source_of,
    alias=_alias,
    unalias=_unalias,
    command_source=_command_source,
    cdcs=_cdcs,
    check=_check,
    check_device=_check_device,
    counters={
        "ErrCnt": ("goose_errors", "member_errors"),
        "FrmErrCnt": ("frames_missed", "frames_dropped"),
        "SeqErrCnt": ("disordered_frames", "states_missed"),
    },
)
"""The protocol as mapping files and the gateway see it."""
