"""Settings and limits of the OPC UA server; every limit here is enforced, and told to clients where OPC UA can."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from address_space.events import EventJournal
from address_space.ports import AccessPolicy, AuditLog, CommandDesk, ConditionStore, HistoryReader, MethodProvider

POLICIES = ("Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256")
"""Names of the security policies that the server can offer; the older Basic128Rsa15 and Basic256 are broken."""


class SettingsError(ValueError):
    """The settings would make an unsafe or impossible server; the message says which."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of connections, sessions and requests.

    Attributes:
        max_connections: TCP connections, also those without a session.
        max_connections_per_host: of one host, so that no host alone takes all.
        slow_client_seconds: a connection whose client takes nothing of what waits for it is closed after this long.
        max_unsent: octets that may wait for a client; with more its connection is closed.
        session_octets: what the subscriptions of one session may hold, see `SubscriptionLimits`.
        activation_seconds: a connection without an active session is closed after this long.
        max_sessions: sessions of all clients.
        max_sessions_per_client: sessions from one host.
        max_sessions_per_user: active sessions of one named user.
        max_rejected: certificates kept in the folder `rejected`.
        max_trust_list: octets of a trust list that is read or written by clients.
        max_chunk: octets of one frame, before negotiation.
        max_message: octets of one request in all its frames.
        max_message_before_session: the same before a session is active.
        max_slow_requests: method calls under way on one connection.
        max_references: references in one Browse result; more come by BrowseNext.
        max_continuation_points: of one session.
        max_nodes_per_history_data, max_nodes_per_history_events: nodes of one HistoryRead.
        max_history_values: values, intervals or events of one node in one answer; more come by continuation points.
        max_history_values_per_answer: the same of all nodes together.
        max_history_continuation_points: of one session.
        max_lookup: addresses in one Lookup result.
    """

    max_connections: int = 200
    max_connections_per_host: int = 150
    slow_client_seconds: float = 30.0
    max_unsent: int = 32 << 20
    session_octets: int = 48 << 20
    activation_seconds: float = 5.0
    max_sessions: int = 100
    max_sessions_per_client: int = 80
    max_sessions_per_user: int = 80
    max_rejected: int = 100
    max_trust_list: int = 1 << 20
    max_chunk: int = 65_535
    max_message: int = 16 << 20
    max_message_before_session: int = 131_072
    min_channel_lifetime_ms: int = 10_000
    max_channel_lifetime_ms: int = 3_600_000
    max_slow_requests: int = 16
    max_nodes_per_read: int = 100_000
    max_nodes_per_write: int = 1_000
    max_nodes_per_browse: int = 10_000
    max_nodes_per_translate: int = 10_000
    max_nodes_per_register: int = 100_000
    max_nodes_per_call: int = 100
    max_references: int = 10_000
    max_continuation_points: int = 20
    max_nodes_per_history_data: int = 100
    max_nodes_per_history_events: int = 10
    max_history_values: int = 10_000
    max_history_values_per_answer: int = 100_000
    max_history_continuation_points: int = 20
    max_path_elements: int = 64
    max_lookup: int = 10_000


@dataclass(frozen=True, slots=True)
class Ports:
    """What the server needs from the service; a port that is None answers BadNotSupported, never Good."""

    policy: AccessPolicy | None = None
    desk: CommandDesk | None = None
    audit: AuditLog | None = None
    events: EventJournal | None = None
    conditions: ConditionStore | None = None
    history: HistoryReader | None = None
    providers: Sequence[MethodProvider] = ()
    control_model: Callable[[str], int | None] | None = None
    """ctlModel of a data object by its address, where it is known."""
    mapping_revision: Callable[[], str] | None = None
    """Revision of the mapping files that the points come from; empty where there is none."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where and as what the server runs.

    Attributes:
        authority: URI of the grid authority; the namespace of all addresses.
        pki_directory: where certificate and key are kept, made at the first start.
        host, port: what to listen on; port 0 takes a free one.
        security: message security modes offered: `None`, `Sign`, `SignAndEncrypt`; empty for `SignAndEncrypt` anywhere
            and `None` on loopback as well.
        security_none: offer `None` to the network too, without signatures and encryption.
        policies: security policies offered for Sign and SignAndEncrypt, by name, the preferred one first.
        trust_any_client: clients need not be in the trust list; on loopback only.
        key_bits: of the key that is made at the first start.
        host_names: further names and addresses in the certificate that is made.
        application_uri: identity of this server; empty for one made from the host name.
        mqtt_root: first level of the MQTT topics that Resolve tells.
    """

    authority: str
    pki_directory: Path
    host: str = "127.0.0.1"
    port: int = 4840
    product_name: str = "twin-gateway"
    product_uri: str = "urn:twin-gateway"
    software_version: str = "0.1.0"
    application_uri: str = ""
    security: tuple[str, ...] = ()
    security_none: bool = False
    policies: tuple[str, ...] = POLICIES
    trust_any_client: bool = False
    key_bits: int = 2048
    host_names: tuple[str, ...] = ()
    mqtt_root: str = "twin"
    limits: ServerLimits = field(default_factory=ServerLimits)

    @property
    def loopback(self) -> bool:
        """Whether only clients on this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def modes(self) -> tuple[str, ...]:
        """The security modes to offer.

        Raises:
            SettingsError: for unknown modes and policies, and for what is for loopback only on anything else.
        """
        modes = self.security or (("SignAndEncrypt", "None") if self.loopback else ("SignAndEncrypt",))
        if self.security_none and "None" not in modes:
            modes = (*modes, "None")
        for mode in modes:
            if mode not in {"None", "Sign", "SignAndEncrypt"}:
                raise SettingsError(f"{mode!r} is no security mode: use None, Sign or SignAndEncrypt")
        for policy in self.policies:
            if policy not in POLICIES:
                raise SettingsError(f"{policy!r} is no security policy: use {', '.join(POLICIES)}")
        if not self.loopback and "None" in modes and not self.security_none:
            raise SettingsError(f"security None is for loopback only, not for {self.host}")
        if not self.loopback and self.trust_any_client:
            raise SettingsError(f"to trust any client is for loopback only, not for {self.host}")
        return modes


@dataclass(slots=True)
class ServerCounters:
    """What the server refused since the start, and its sessions."""

    connections_refused: int = 0
    frames_refused: int = 0
    never_activated: int = 0
    slow_clients: int = 0
    logins_refused: int = 0
    certificates_refused: int = 0
    audit_events: int = 0
    events_told: int = 0
    events_dropped: int = 0
    events_lost: int = 0
    sessions_made: int = 0
    sessions_rejected: int = 0
    sessions_security_rejected: int = 0
    sessions_timed_out: int = 0
    sessions_aborted: int = 0
    requests_rejected: int = 0
    requests_security_rejected: int = 0
