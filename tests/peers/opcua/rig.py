"""What the OPC UA server tests share: a small grid, users, a desk that remembers, the node client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from peers.opcua.install import PEER, node_opcua
from peers.opcua.memory_history import MemoryHistory

from address_space.addcause import AddCause
from address_space.address import parse
from address_space.alias import AddressBook
from address_space.catalogue import classify
from address_space.events import EventJournal
from address_space.opcua.server import GatewayServer
from address_space.opcua.settings import Ports, ServerLimits, ServerSettings
from address_space.point import Batch, Point, PointProfile
from address_space.ports import Argument, AuditRecord, Caller, Command, MethodResult, MethodSpec, Outcome, Right
from address_space.quality import Quality, StatusCode
from address_space.table import PointTable
from address_space.units import canonical
from twin_gateway.alarms.store import ConditionBook

AUTHORITY = "https://example.org"
BAY = "dso1/north/PS01/MV1/F05"
POSITION = f"{BAY}/QA1/XCBR1/Pos"
CONTROL = f"{BAY}/QA1/CSWI1"
POWER = f"{BAY}/_/MMXU1/TotW"
STATE_TIME = 133_800_000_000_000_000


def point(address: str, *, link: str = "ps01-rtu", source: int | str = 1, **profile: Any) -> Point:
    known = classify(parse(address))
    made = PointProfile.of(known, canonical(known.quantity) if known.quantity else None)
    return Point(address, replace(made, **profile), link, source)


def grid(bays: int = 0) -> PointTable:
    """One bay with all kinds of points; `bays` more with a position each."""
    table = PointTable()
    table.add(
        [
            point(POSITION, source=4001),
            point(f"{CONTROL}/Pos", source=4002, controllable=True),
            point(f"{CONTROL}/Loc", source=4003),
            point(POWER, source=4004, low=-1e7, high=1e7),
            point(f"{BAY}/_/MMXU1/A/phsB", source=4005),
            point(f"{BAY}/QA1/XCBR1/OpCnt", source=4006),
            point(f"{BAY}/IED1/LPHD1/PhyHealth", source=4007),
            point(f"{BAY}/_/MMTR1/DmdWh", source=4008),
            point("dso1/south/PS~2EA~2F7/MV1/F01/QA1/XCBR1/Pos", link="ps02", source="LD0/XCBR1.Pos"),
        ]
    )
    table.add(point(f"dso1/east/S{number:04d}/MV1/F01/QA1/XCBR1/Pos", link="") for number in range(bays))
    table.ingest(Batch.of([0, 1, 2, 3, 4, 5], [2, 2, 1, 1234.5, 17.25, 42], 0, STATE_TIME))
    table.ingest(Batch.of([7], [5.0], int(Quality.QUESTIONABLE | Quality.OLD_DATA), STATE_TIME))
    return table


class Users:
    """An access policy in memory."""

    passwords = {  # noqa: RUF012
        "olga": "o-secret",
        "otto": "w-secret",
        "nina": "n-secret",
        "sara": "s-secret",
        "eva": "e-secret",
        "nobody": "x-secret",
    }
    roles = {  # noqa: RUF012
        "olga": {"Observer", "Operator"},
        "otto": {"Observer"},
        "nina": {"Observer"},
        "sara": {"Observer", "SecurityAdmin"},
        "eva": {"Observer", "Operator", "Supervisor", "Engineer"},
        "nobody": set(),
        "": {"Observer"},
    }

    def __init__(self, *, anonymous: bool = True) -> None:
        self.allow_anonymous = anonymous

    async def authenticate(self, user: str, password: str, client: str) -> Caller | None:
        await asyncio.sleep(0)
        good = password and self.passwords.get(user) == password
        return Caller(user, frozenset(self.roles[user]), client) if good else None

    def anonymous(self, client: str) -> Caller | None:
        return Caller("", frozenset({"Observer"}), client) if self.allow_anonymous and client == "127.0.0.1" else None

    async def authenticate_certificate(self, certificate: bytes, client: str) -> Caller | None:
        return None

    def role_rights(self) -> dict[str, frozenset[Right]]:
        looks = frozenset({Right.BROWSE, Right.READ})
        administers = frozenset({Right.ADMINISTER, Right.AUDIT})
        operates, supervises = looks | {Right.OPERATE}, looks | {Right.SUPERVISE}
        engineers = looks | {Right.CONFIGURE}
        return {
            "Observer": looks,
            "Operator": operates,
            "Supervisor": supervises,
            "Engineer": engineers,
            "SecurityAdmin": administers,
        }

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        if right is Right.OPERATE:
            return "Operator" in caller.roles
        if right in {Right.ADMINISTER, Right.AUDIT}:
            return "SecurityAdmin" in caller.roles
        if right in {Right.SUPERVISE, Right.CONFIGURE}:
            return ("Supervisor" if right is Right.SUPERVISE else "Engineer") in caller.roles
        if "Observer" not in caller.roles or right not in {Right.BROWSE, Right.READ}:
            return False
        if caller.user != "nina" or not address:
            return True
        # Nina may read one feeder, and see the way to it.
        own = "dso1/north/PS01/MV1/F05/_/MMXU1"
        return address.startswith(own) or (right is Right.BROWSE and f"{own}/".startswith(f"{address}/"))


class Desk:
    """A command desk whose device does as it is told, except where `outcome` says otherwise."""

    def __init__(self) -> None:
        self.commands: list[tuple[Command, Caller]] = []
        self.outcome = Outcome(0, AddCause.NONE, "", "confirmed by the device", "cmd-1", sent=True)
        self.delay = 0.0
        self.finished = 0

    async def _take(self, command: Command, caller: Caller) -> Outcome:
        self.commands.append((command, caller))
        await asyncio.sleep(self.delay)
        self.finished += 1
        return self.outcome

    select = operate = cancel = _take

    def controllable(self, address: str) -> bool:
        return address == f"{CONTROL}/Pos"

    def refuse(self) -> None:
        text = "the switch is blocked by interlocking"
        self.outcome = Outcome(StatusCode.BadInvalidState, AddCause.BLOCKED_BY_INTERLOCKING, "device", text, "cmd-2")


class Audit:
    """An audit journal in memory."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    async def append(self, record: AuditRecord) -> None:
        self.records.append(record)


class Provider:
    """A method provider with one method on a bay and one on the grid."""

    def specs(self) -> list[MethodSpec]:
        number, text = Argument("factor", 11), Argument("names", 12, is_list=True)
        return [
            MethodSpec(BAY, "Double", (number, text), (Argument("result", 11),), Right.READ, "Twice the factor"),
            MethodSpec(BAY, "Refused", (), (), Right.CONFIGURE),
            MethodSpec("", "Forbidden", (), (), Right.CONFIGURE),
        ]

    async def call(self, owner: str, name: str, arguments: list[Any], caller: Caller) -> MethodResult:
        await asyncio.sleep(0)
        return MethodResult(0, (2 * arguments[0],))


class Numbers:
    """The alias scheme of a protocol with numbered points."""

    scheme = "104"

    def alias(self, link: str, source: int | str) -> str:
        return f"{link}/1/{source}"

    def sources(self, value: str) -> Iterable[tuple[str, int | str]]:
        parts = value.split("/")
        return [(parts[0], int(parts[2]))] if len(parts) == 3 and parts[2].isdigit() else []


def address_book(table: PointTable) -> AddressBook:
    book = AddressBook(table, [Numbers()], AUTHORITY)
    book.add_link("ps01-rtu", "104")
    book.add_alias("mrid:6f0c3c5e-0d0a-4f2a-9a53-1f0b8a1f2c33", POSITION)
    return book


class Rig:
    """A running server with its ports."""

    def __init__(
        self,
        directory: Path,
        *,
        table: PointTable | None = None,
        policy: Users | None = None,
        limits: ServerLimits | None = None,
        **settings: Any,
    ) -> None:
        self.table = table or grid()
        self.desk, self.audit, self.policy = Desk(), Audit(), policy or Users()
        self.events, self.history = EventJournal(), MemoryHistory()
        self.conditions = ConditionBook(self.events, policy=self.policy, audit=self.audit)
        ports = Ports(
            self.policy,
            self.desk,
            self.audit,
            events=self.events,
            conditions=self.conditions,
            history=self.history,
            providers=(Provider(),),
        )
        self.server = GatewayServer(
            self.table,
            ServerSettings(
                AUTHORITY,
                directory / "pki",
                port=0,
                limits=limits or ServerLimits(),
                **{"trust_any_client": True, **settings},
            ),
            ports=ports,
            book=address_book(self.table),
        )

    async def __aenter__(self) -> Rig:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    @property
    def url(self) -> str:
        return self.server.url


class NodeClient:
    """The node-opcua client in its own process; each order is a connection of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            node_opcua(),
            str(PEER / "client.js"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )

    async def close(self) -> None:
        assert self._process is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 10)

    async def __call__(self, url: str, *steps: dict[str, Any], **order: Any) -> Any:
        """What it answers to the steps; ConnectionError with its words when it could not do them."""
        assert self._process is not None
        document = {"url": url, "pki": str(self._directory / "client-pki"), "steps": steps, **order}
        self._process.stdin.write(json.dumps(document).encode() + b"\n")
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), 60)
            assert line, "the node client has ended"
            if line.startswith(b"{"):
                break
        answer = json.loads(line)
        if "error" in answer:
            raise ConnectionError(answer["error"])
        return answer["results"]
