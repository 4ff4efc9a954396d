"""What an import asks of another OPC UA server, and what it finds there; without the client that reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

POLICIES: Final = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")


@dataclass(frozen=True, slots=True)
class Access:
    """How a server is entered.

    Attributes:
        user: name; anonymous without one.
        password: only to be handed to the server.
        policy: security policy; none without one, and then neither are the files.
        certificate: ours, with its key.
        key: private key.
        server_certificate: the server's, the only one that is accepted.
        timeout: seconds for an answer.
    """

    user: str = ""
    password: str = ""
    policy: str = ""
    certificate: Path | None = None
    key: Path | None = None
    server_certificate: Path | None = None
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is browsed: nodes of any class, levels below the first node, seconds in all."""

    nodes: int = 200_000
    depth: int = 24
    seconds: float = 600.0


@dataclass(slots=True)
class ForeignVariable:
    """One variable.

    Attributes:
        node_id: as text, `ns=2;s=…`; `uri` is that of its namespace.
        path: BrowseNames from below the first node on.
        name: DisplayName.
        description: of the variable.
        data_type: name of its type, `Double`.
        writable: by AccessLevel.
        unit: DisplayName of its EngineeringUnits, and their UNECE number (0 for none).
        low: of EURange, else InstrumentRange; None without either.
        high: likewise.
        states: EnumStrings, or FalseState and TrueState.
    """

    node_id: str
    identifier: str
    uri: str
    path: tuple[str, ...]
    name: str = ""
    description: str = ""
    data_type: str = ""
    writable: bool = False
    unit: str = ""
    unit_id: int = 0
    low: float | None = None
    high: float | None = None
    states: tuple[str, ...] = ()


@dataclass(slots=True)
class ForeignSpace:
    """What a server has below a node.

    Attributes:
        variables: in the order of browsing, each once.
        aliases: alias names (Part 17) by NodeId text.
        notes: what was left out, and why.
    """

    variables: list[ForeignVariable] = field(default_factory=list)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
