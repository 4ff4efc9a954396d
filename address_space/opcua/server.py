"""The OPC UA server: one address space over the point table, served to OPC UA clients on the caller's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, cast

from asyncua.common.connection import TransportLimits
from asyncua.common.node import Node as StandardNode
from asyncua.common.utils import Buffer
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.security_policies import SecurityPolicyFactory
from asyncua.server.address_space import (
    AddressSpace,
    AttributeService,
    MethodService,
    NodeManagementService,
    ViewService,
)
from asyncua.server.history import HistoryManager
from asyncua.server.internal_server import InternalServer as StockInternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.user_managers import UserManager
from asyncua.ua.ua_binary import struct_from_binary

from address_space.address import unescape
from address_space.alias import AddressBook
from address_space.opcua import attributes, browse, history_read, methods, push, session, subscriptions
from address_space.opcua.admission import Admission
from address_space.opcua.capabilities import fill_capabilities
from address_space.opcua.diagnostics import Diagnostics
from address_space.opcua.endpoints import Application, offer
from address_space.opcua.event_feed import serve_events
from address_space.opcua.history_nodes import fill_history
from address_space.opcua.history_read import HistoryService
from address_space.opcua.item_methods import ITEM_METHODS
from address_space.opcua.model.ids import AUTHORITY_INDEX, DI_INDEX, DI_URI, INDEX, URI, numbers
from address_space.opcua.model.snapshot import SnapshotNodes
from address_space.opcua.model_changes import ModelWatch
from address_space.opcua.namespaces import add_metadata
from address_space.opcua.processor import Handler
from address_space.opcua.security import ApplicationIdentity, load_or_make, names_of
from address_space.opcua.security_audit import SecurityAudit
from address_space.opcua.session import Session
from address_space.opcua.settings import Ports, ServerCounters, ServerLimits, ServerSettings, SettingsError
from address_space.opcua.space import GRID, LAST_COMMAND, GridSpace, NodeClass
from address_space.opcua.standard import StandardNodes
from address_space.opcua.standard_methods import StandardMethods
from address_space.opcua.subscriptions import PointSubscriptionService, SubscriptionTotals
from address_space.opcua.transport import Connection
from address_space.opcua.trust import Trust, watch
from address_space.opcua.trust_store import TrustStore
from address_space.opcua.untyped import Server, ua
from address_space.table import PointTable

_log = logging.getLogger(__name__)
_LOGINS_AT_ONCE = 2
_CLOSE_SECONDS = 1.0
_CHANGING = {"ValueAsText", LAST_COMMAND}


class GridAddressSpace(AddressSpace):
    """asyncua's address space of namespace 0, which also answers for the grid's nodes what asyncua's own parts ask."""

    def __init__(self) -> None:
        super().__init__()
        self.space: GridSpace | None = None

    def use_snapshot(self) -> None:
        """Start with the nodes of the snapshot instead of none."""
        self._nodes = cast("Any", SnapshotNodes())

    def __contains__(self, nodeid: Any) -> bool:
        return super().__contains__(nodeid) or self._find(nodeid) is not None

    def _find(self, nodeid: Any) -> Any:
        space = self.space
        if space is None or nodeid.NamespaceIndex != space.namespace or not isinstance(nodeid.Identifier, str):
            return None
        return space.find(nodeid.Identifier)

    def read_attribute_value(self, nodeid: Any, attr: Any) -> Any:
        """Value of an attribute; of the grid's nodes only the Value."""
        node = self._find(nodeid)
        if node is None or self.space is None:
            return super().read_attribute_value(nodeid, attr)
        if attr != ua.AttributeIds.Value or self.space.node_class(node) != NodeClass.VARIABLE:
            return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadAttributeIdInvalid))
        return struct_from_binary(ua.DataValue, Buffer(attributes.value_of(self.space, node)))

    def add_datachange_callback(self, nodeid: Any, attr: Any, callback: Any) -> tuple[Any, int]:
        """Monitor an attribute: properties of the grid never change; those that do are not watched."""
        node = self._find(nodeid)
        if node is None:
            return super().add_datachange_callback(nodeid, attr, callback)
        if attr != ua.AttributeIds.Value or node.is_point or node.member in _CHANGING:
            return ua.StatusCode(ua.StatusCodes.BadNotSupported), 0
        self._datachange_callback_counter += 1
        return ua.StatusCode(), self._datachange_callback_counter


class InternalServer(StockInternalServer):
    """asyncua's internal server with the services over the point table.

    Attributes:
        space: nodes of the grid.
        types: nodes of namespace 0.
        diagnostics: ServerDiagnostics.
        standard_methods: methods of namespace 0 and of conditions that are offered.
        event_feed: tells events to the event items.
        history: unfinished reads of history.
        handlers: request type id -> handler.
        ports: policy, desk, audit, method providers.
        policies: security policies of the endpoints.
        offered_security: (policy URI, mode) of the endpoints.
        application: what the endpoints say of the server.
        trust: which client applications the server talks to; `user_trust`: certificates of users.
        security_audit: where security tells what it did and refused.
        connections: the open ones.
    """

    def __init__(self, table: PointTable, book: AddressBook, settings: ServerSettings, ports: Ports) -> None:
        super().__init__(user_manager=_NoUsers())
        self.table, self.book, self.settings, self.ports = table, book, settings, ports
        self.limits: ServerLimits = settings.limits
        self.counters = ServerCounters()
        self.admission = Admission(self.limits)
        self.transport_limits = TransportLimits(
            max_recv_buffer=self.limits.max_chunk,
            max_send_buffer=self.limits.max_chunk,
            max_chunk_count=self.limits.max_message // 8192 + 1,
            max_message_size=self.limits.max_message,
        )
        self.policies: list[SecurityPolicyFactory] = []
        self.offered_security: set[tuple[str, int]] = set()
        self.application = Application("", "", "", "")
        self.connections: set[Connection] = set()
        self.authentications = asyncio.Semaphore(_LOGINS_AT_ONCE)
        self.certificate_der: bytes | None = None
        self.certificate_chain: bytes | None = None
        self.identity: ApplicationIdentity | None = None
        self.allow_remote_admin = False
        self.all_closed = asyncio.Event()
        self.all_closed.set()
        self._kept: set[asyncio.Task[Any]] = set()
        self._model_task: asyncio.Task[None] | None = None
        self._replace_services()
        if ports.control_model is not None:
            self.space.control_model = ports.control_model
        if ports.mapping_revision is not None:
            self.space.revision_of_mapping = ports.mapping_revision
        self.space.bindings_of = book.bindings
        self.space.protocol_of = lambda name: book.scheme_of_link(unescape(name))
        self.model_watch = ModelWatch(self)

    def _replace_services(self) -> None:
        self.method_service.stop()
        self.aspace: GridAddressSpace = GridAddressSpace()
        self.attribute_service = AttributeService(self.aspace)
        self.view_service = ViewService(self.aspace)
        self.method_service = MethodService(self.aspace)
        self.node_mgt_service = NodeManagementService(self.aspace)
        self.methods = methods.MethodCatalogue(self)
        self.standard_methods = StandardMethods()
        for method in ITEM_METHODS:
            self.standard_methods.register(method)
        self.diagnostics = Diagnostics()
        pki = self.settings.pki_directory
        self.security_audit = SecurityAudit(self)
        self.trust = Trust(
            TrustStore(pki, most_rejected=self.limits.max_rejected),
            self.security_audit,
            trust_any=self.settings.trust_any_client,
            notice=self.admission.notice,
        )
        self.user_trust = Trust(
            TrustStore(pki / "users"), self.security_audit, trust_any=True, users=True, notice=self.admission.notice
        )
        self.space = GridSpace(self.table, AUTHORITY_INDEX, self.methods.of)
        self.types = StandardNodes(self.aspace)
        self.subscription_service: PointSubscriptionService = PointSubscriptionService(
            self.aspace, table=self.table, iserver=self, namespace=self.space.namespace, may_monitor=_may_monitor
        )
        self.subscription_service.limits = replace(
            self.subscription_service.limits, session_octets=self.limits.session_octets
        )
        self.event_feed = serve_events(self)
        self.history = HistoryService(self)
        self.history_manager = HistoryManager(self)
        self.isession = InternalSession(
            self, self.aspace, self.subscription_service, "Internal", user=User(role=UserRole.Admin)
        )
        self.current_time_node = StandardNode(self.isession, ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime))
        self.server_status_node = StandardNode(self.isession, ua.NodeId(ua.ObjectIds.Server_ServerStatus))
        self.handlers: dict[int, Handler] = {
            **session.RAW_HANDLERS,
            **attributes.RAW_HANDLERS,
            **browse.RAW_HANDLERS,
            **methods.RAW_HANDLERS,
            **subscriptions.RAW_HANDLERS,
            **history_read.RAW_HANDLERS,
        }

    @property
    def sessions(self) -> list[Session]:
        """Sessions of clients."""
        return [cast("Session", each) for each in self._external_sessions.values()]

    def session_of(self, token: bytes) -> Session | None:
        """The session of an AuthenticationToken on the wire; the time it takes tells nothing of the tokens."""
        return next((each for each in self.sessions if hmac.compare_digest(each.token, token)), None)

    def connected(self, connection: Connection) -> None:
        """A connection has been accepted."""
        self.connections.add(connection)
        self.all_closed.clear()

    def disconnected(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self.all_closed.set()

    def keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something that outlives the connection it belongs to; ended when the server stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._kept.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("work beside a connection failed", exc_info=error)

    async def load_standard_address_space(self, shelffile: Any = None) -> None:
        """The standard's nodes, those of DI and our types: made from the snapshot when they are asked for."""
        self.aspace.use_snapshot()

    def attach(self) -> None:
        """Hang the grid below Objects."""
        self.aspace.space = self.space
        reference = ua.ReferenceDescription()
        reference.ReferenceTypeId = ua.NodeId(ua.ObjectIds.Organizes)
        reference.IsForward = True
        reference.NodeId = ua.NodeId(GRID, self.space.namespace)
        reference.NodeClass = ua.NodeClass.Object
        reference.BrowseName = ua.QualifiedName("Grid", self.space.namespace)
        reference.DisplayName = ua.LocalizedText("Grid")
        reference.TypeDefinition = ua.NodeId(numbers()["GridRootType"], INDEX)
        self.aspace[ua.NodeId(ua.ObjectIds.ObjectsFolder)].references.append(reference)
        # Events of the grid go up to the Server object.
        events = replace(reference, ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasNotifier))
        self.aspace[ua.NodeId(ua.ObjectIds.Server)].references.append(events)

    async def start(self) -> None:
        """Begin to look for changes of the model, and to count the time."""
        await super().start()
        self._model_task = asyncio.create_task(self.model_watch.run())

    async def stop(self) -> None:
        """Stop everything; no client is connected any more."""
        for task in (self.time_task, self._model_task):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self.time_task = self._model_task = None
        self.model_watch.close()
        for each in self.sessions:
            await each.close_session(True)
        self.subscription_service.close()
        await asyncio.gather(*self._kept, return_exceptions=True)
        await super().stop()


class _NoUsers(UserManager):
    """asyncua's own user check is never asked: sessions are activated by the access policy."""

    def get_user(self, *_: Any, **__: Any) -> None:
        """Nobody."""


def _may_monitor(of: Any, addresses: Any) -> list[bool] | None:
    return cast("Session", of).rights.readable(addresses)


class GatewayServer:
    """OPC UA server over a point table.

    `start` opens the endpoint, `stop` ends all sessions and closes it. Everything runs on the loop that starts it.
    """

    def __init__(
        self,
        table: PointTable,
        settings: ServerSettings,
        *,
        ports: Ports | None = None,
        book: AddressBook | None = None,
    ) -> None:
        self.settings = settings
        self.table = table
        self.book = book or AddressBook(table, authority=settings.authority)
        self.ports = ports or Ports()
        self.internal: InternalServer | None = None
        self._identity: ApplicationIdentity | None = None
        self._listener: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def application_uri(self) -> str:
        """ApplicationUri of the server."""
        return names_of(self.settings).application_uri

    @property
    def identity(self) -> ApplicationIdentity | None:
        """Certificate and key, those of now; None before the first start."""
        return self.internal.identity if self.internal is not None else self._identity

    @property
    def port(self) -> int:
        """The port listened on (0 before the start)."""
        if self._listener is None or not self._listener.sockets:
            return 0
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """EndpointUrl."""
        host = self.settings.host
        return f"opc.tcp://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def connections(self) -> int:
        """Open connections, with and without a session."""
        return len(self.internal.connections) if self.internal is not None else 0

    @property
    def sessions(self) -> int:
        """Sessions of clients."""
        return len(self.internal.sessions) if self.internal is not None else 0

    @property
    def counters(self) -> ServerCounters:
        """What was refused since the start."""
        return self.internal.counters if self.internal is not None else ServerCounters()

    @property
    def subscription_totals(self) -> SubscriptionTotals:
        """What all subscriptions did since the start."""
        return self.internal.subscription_service.totals() if self.internal is not None else SubscriptionTotals()

    async def start(self) -> None:
        """Build namespace 0, open the endpoint and serve; when it cannot, nothing is left running.

        Raises:
            SettingsError: when the settings are unsafe.
            CertificateError: when the certificate cannot be used.
            OSError: when the port is taken.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self.settings
        settings.modes()
        names = names_of(settings)
        identity = await asyncio.to_thread(
            load_or_make,
            settings.pki_directory,
            names.application_uri,
            names.name,
            names.hosts,
            settings.key_bits,
        )
        self.internal = internal = InternalServer(self.table, self.book, settings, self.ports)
        for store in (internal.trust.store, internal.user_trust.store):
            await asyncio.to_thread(store.make)
        await self._initialise(internal)
        internal.attach()
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(internal), settings.host, settings.port, start_serving=False, backlog=1024
        )
        internal.application = Application(self.application_uri, settings.product_uri, settings.product_name, self.url)
        offer(internal, identity)
        push.register(internal)
        await push.fill_properties(internal)
        await internal.start()
        self._watching = loop.create_task(watch(internal, push.fill_properties))
        await self._listener.start_serving()
        _log.info("OPC UA on %s", self.url)

    async def _initialise(self, internal: InternalServer) -> None:
        stock = Server(iserver=internal)
        stock._application_uri = self.application_uri
        stock.product_uri = self.settings.product_uri
        stock.name = stock.manufacturer_name = self.settings.product_name
        await stock.init()
        for index, uri in ((AUTHORITY_INDEX, self.settings.authority), (DI_INDEX, DI_URI), (INDEX, URI)):
            if await stock.register_namespace(uri) != index:
                raise SettingsError(f"{uri} cannot be the authority: it is the URI of another namespace")
        add_metadata(internal.aspace, self.application_uri, self.settings.authority)
        internal.model_watch.start()
        await fill_capabilities(internal, self.settings)
        fill_history(internal)

    async def stop(self) -> None:
        """End all connections and sessions and close the endpoint; may be called more than once."""
        listener, internal = self._listener, self.internal
        self._listener = None
        if listener is not None:
            listener.close()
        if internal is None:
            return
        self.internal, self._identity = None, internal.identity
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for connection in list(internal.connections):
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await internal.all_closed.wait()
        for connection in list(internal.connections):
            connection.abort()
        await asyncio.sleep(0)
        await internal.stop()
        if listener is not None:
            await listener.wait_closed()
