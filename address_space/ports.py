"""Ports: what the OPC UA face and other consumers need from the service; protocol classes and frozen records only.

A port that is absent answers BadNotSupported, never Good. Without an `AuditLog` or an `AccessPolicy` commands are
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from address_space.addcause import AddCause
from address_space.conditions import Condition
from address_space.events import Event
from address_space.quality import StatusCode

AUDIT_ENTRY: ContextVar[str] = ContextVar("audit_entry", default="")
"""AuditEntryId of the request that is worked on: what the client calls it in its own audit."""


class Right(StrEnum):
    """What a caller may be allowed to do on an address."""

    BROWSE = "browse"
    READ = "read"
    OPERATE = "operate"
    SUPERVISE = "supervise"
    CONFIGURE = "configure"
    COMMISSION = "commission"
    ADMINISTER = "administer"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: set by the face that authenticated them, never by the caller.

    Attributes:
        user: user name; empty for anonymous.
        roles: role names (`Observer`, `Operator`).
        client: client address or connection name, for the audit.
        session: session identity, for selections.
    """

    user: str
    roles: frozenset[str]
    client: str = ""
    session: str = ""


class Verb(StrEnum):
    """The three command services."""

    SELECT = "select"
    OPERATE = "operate"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it comes from a client.

    Attributes:
        verb: select, operate or cancel.
        address: address of the data object (`…/CSWI1/Pos`).
        value: bool, int or float in published units; double points take 1 off, 2 on or a bool. None for cancel.
        issued_at: when the client issued it, FILETIME ticks (100 ns since 1601); commands older than 2 s are dropped.
        request_id: the caller's own id; a repeated one is answered with the first outcome. Empty for none.
        origin_category: 61850 orCat: 3 a person, 6 an automatic function (on the authority of its caller).
    """

    verb: Verb
    address: str
    value: bool | int | float | None
    issued_at: int
    test: bool = False
    interlock_check: bool = True
    synchro_check: bool = True
    reason: str = ""
    request_id: str = ""
    origin_category: int = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a command: only the device makes it Good.

    Attributes:
        status: OPC UA StatusCode of the method.
        add_cause: AddCause of the device (or of the gate), NONE where there is none.
        gate: name of the gate that refused (`role`, `quality`, `device`, …); empty when the device answered Good.
        text: a sentence for people.
        command_id: id under which the audit keeps it.
        sent: whether the command left the gateway; with BadTimeout its outcome is unknown and it is never repeated.
    """

    status: int
    add_cause: int = AddCause.NONE
    gate: str = ""
    text: str = ""
    command_id: str = ""
    sent: bool = False

    @property
    def good(self) -> bool:
        """Whether the device confirmed."""
        return self.status & 0xC000_0000 == 0

    @staticmethod
    def refused(
        gate: str, text: str, status: int = StatusCode.BadInvalidState, add_cause: int = AddCause.NONE
    ) -> Outcome:
        """A refusal before anything left the gateway."""
        return Outcome(status, add_cause, gate, text)


class CommandDesk(Protocol):
    """Takes commands through the gates to the device; answers only with the device's own outcome."""

    async def select(self, command: Command, caller: Caller) -> Outcome:
        """Select before operate."""
        ...

    async def operate(self, command: Command, caller: Caller) -> Outcome:
        """Operate; for select-before-operate models a matching selection must stand."""
        ...

    async def cancel(self, command: Command, caller: Caller) -> Outcome:
        """Give a selection back."""
        ...

    def controllable(self, address: str) -> bool:
        """Whether the data object has a command binding (the face shows methods only then)."""
        ...


@dataclass(frozen=True, slots=True)
class Argument:
    """One method argument: OPC UA built-in type number and meaning."""

    name: str
    type_id: int
    description: str = ""
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A method that a provider offers on an object.

    Attributes:
        owner: address of the object that has the method; empty for the grid object.
        right: what the caller must be allowed on the owner.
    """

    owner: str
    name: str
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    right: Right = Right.READ
    description: str = ""


@dataclass(frozen=True, slots=True)
class MethodResult:
    """Status and output values (as many as the spec's outputs, also when the status is Bad)."""

    status: int
    outputs: tuple[Any, ...] = ()
    text: str = ""


class MethodProvider(Protocol):
    """Methods on objects: twin functions, link services."""

    def specs(self) -> Sequence[MethodSpec]:
        """All methods of the provider."""
        ...

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Run a method; arguments have been checked against the spec."""
        ...


class AccessPolicy(Protocol):
    """Users, roles and what they may do where."""

    async def authenticate(self, user: str, password: str, client: str) -> Caller | None:
        """The caller of a user name and password; None when refused. Slow on purpose (argon2id)."""
        ...

    def anonymous(self, client: str) -> Caller | None:
        """The caller of a connection without a user; None when anonymous access is off or the client is not local."""
        ...

    async def authenticate_certificate(self, certificate: bytes, client: str) -> Caller | None:
        """The caller of an X.509 user certificate (DER) whose key the client has proved to hold; None when refused."""
        ...

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        """Whether the caller has the right on the address (an empty address means anywhere)."""
        ...

    def role_rights(self) -> Mapping[str, frozenset[Right]]:
        """Rights of each role by its name, as far as the role goes (areas of users are not in it)."""
        ...


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One line of the audit journal.

    Attributes:
        time: FILETIME ticks.
        kind: `command.issued`, `command.outcome`, `login`, …
        details: further members, JSON values only, never secrets.
        audit_entry: AuditEntryId of the client's request, that of now unless given.
    """

    time: int
    kind: str
    user: str
    client: str
    address: str = ""
    command_id: str = ""
    status: int = 0
    text: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    audit_entry: str = field(default_factory=AUDIT_ENTRY.get)


class AuditLog(Protocol):
    """Append-only journal."""

    async def append(self, record: AuditRecord) -> None:
        """Return when the record is durable; raise when it cannot be made so (the command is then refused)."""
        ...


@dataclass(frozen=True, slots=True)
class HistoryValues:
    """Samples of one point out of the history, in columns of one length.

    Attributes:
        value_type: built-in type number, as of `ValueType`.
        raw: value bits as in the point table, uint64; nothing of texts.
        status: StatusCodes, uint32.
        source: SourceTimestamps, FILETIME ticks, int64.
        server: ServerTimestamps, int64.
        texts: the values of a text point; None for numbers.
        modified: (time of the modification in ticks, HistoryUpdateType, user) of each, for modified values only.
    """

    value_type: int
    raw: npt.NDArray[np.uint64]
    status: npt.NDArray[np.uint32]
    source: npt.NDArray[np.int64]
    server: npt.NDArray[np.int64]
    texts: tuple[str, ...] | None = None
    modified: tuple[tuple[int, int, str], ...] | None = None

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A part of what was asked for.

    Attributes:
        values: at most as many as the limit.
        resume: where to go on; None when this was all. Samples of equal times are neither lost nor repeated.
    """

    values: HistoryValues
    resume: tuple[int, int] | None = None


class HistoryReader(Protocol):
    """Reads the history; nothing of it waits on the event loop."""

    def keeps(self, address: str) -> bool:
        """Whether samples of the point are kept."""
        ...

    async def raw(
        self,
        address: str,
        start: int,
        end: int,
        limit: int,
        *,
        reverse: bool = False,
        resume: tuple[int, int] | None = None,
        modified: bool = False,
    ) -> HistoryPage:
        """Samples with `start <= source time < end` in order of time, or with `reverse` from `end` (excluded) down.

        Equal times keep the order of arrival. With `modified`: the values that later ones replaced (an insertion of
        late data counts as such with HistoryUpdateType Insert). What has been received but not yet written counts too.

        Raises:
            KeyError: when nothing of the point is kept.
        """
        ...

    async def bracket(self, address: str, times: npt.NDArray[np.int64]) -> tuple[HistoryValues, HistoryValues]:
        """For each time the newest sample at or before it and the oldest after it; source 0 where there is none.

        Raises:
            KeyError: when nothing of the point is kept.
        """
        ...

    async def events(
        self, prefix: str, start: int, end: int, limit: int, *, reverse: bool = False, resume: int | None = None
    ) -> tuple[Sequence[Event], int | None]:
        """Events at and below an address (all for an empty one) by time, and where to go on (None: that was all)."""
        ...


class ConditionVerb(StrEnum):
    """What people and clients do to a condition (Part 9)."""

    ENABLE = "enable"
    DISABLE = "disable"
    ACKNOWLEDGE = "acknowledge"
    CONFIRM = "confirm"
    COMMENT = "comment"
    SHELVE = "shelve"
    SHELVE_ONCE = "shelve once"
    UNSHELVE = "unshelve"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"


class ConditionStore(Protocol):
    """Alarms and conditions: rules and states live outside OPC UA; MQTT and others show the same.

    Every change is an `Event` in the event journal whose `condition` is the new state.
    """

    def snapshot(self, prefix: str = "") -> Iterable[Condition]:
        """All conditions that are kept (also those of no interest: see `Condition.retain`), at and below an address."""
        ...

    def at(self, address: str) -> Iterable[Condition]:
        """The conditions of one address, not of what is below it."""
        ...

    def get(self, identifier: str) -> Condition | None:
        """A condition by its id, `address$code`."""
        ...

    def refusal(self, identifier: str, verb: ConditionVerb, event_id: bytes | None, duration: float) -> int:
        """0 when the verb can be done now; else the Bad StatusCode that Part 9 asks for.

        BadNodeIdUnknown, BadConditionDisabled, BadConditionAlreadyEnabled, BadConditionAlreadyDisabled,
        BadEventIdUnknown, BadConditionBranchAlreadyAcked, BadConditionBranchAlreadyConfirmed,
        BadConditionAlreadyShelved, BadConditionNotShelved, BadShelvingTimeOutOfRange.
        """
        ...

    async def act(
        self,
        identifier: str,
        verb: ConditionVerb,
        caller: Caller,
        *,
        event_id: bytes | None = None,
        comment: str | None = None,
        locale: str = "",
        duration: float = 0.0,
    ) -> int:
        """Do it: durable and audited when this returns 0; else the StatusCode of `refusal`, or BadUserAccessDenied.

        `event_id` is that of the change which the caller has seen (Acknowledge, Confirm, AddComment), a `comment` of
        None leaves the comment as it is, `duration` is the shelving time in s.
        """
        ...


class AliasScheme(Protocol):
    """Teaches the alias registry the protocol addresses of one scheme (`104`, `61850`, `dlms`, `coap`).

    A binding is kept in the point table as (link, source); a source is an integer or a text.
    """

    @property
    def scheme(self) -> str:
        """The part before the colon."""
        ...

    def alias(self, link: str, source: int | str) -> str:
        """Alias value (without the scheme) of a binding."""
        ...

    def sources(self, value: str) -> Iterable[tuple[str, int | str]]:
        """Each (link, source) that an alias value may be of: several where it names no link; none of another scheme."""
        ...
