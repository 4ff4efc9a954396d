"""ServerDiagnostics (Part 5, 6.3.3): counters of server, sessions and subscriptions, made when they are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from address_space import clock
from address_space.opcua.untyped import ua
from address_space.opcua.wire import NULL_STRING, OperationError, encode_node_id, encode_text, pack_i32
from address_space.ports import Right

if TYPE_CHECKING:
    from address_space.opcua.access import Access
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session
    from address_space.opcua.subscription import PointSubscription

_ID = ua.ObjectIds
_HEAD = "Server_ServerDiagnostics_"
ENABLED_FLAG = _ID.Server_ServerDiagnostics_EnabledFlag
LiveValue = Callable[["InternalServer", "Access"], Any]
"""The Variant (asyncua's) of a node of namespace 0 for a caller; raises OperationError when there is none for it."""
SERVICES = {
    "Read": 631,
    "HistoryRead": 664,
    "Write": 673,
    "HistoryUpdate": 700,
    "Call": 712,
    "CreateMonitoredItems": 751,
    "ModifyMonitoredItems": 763,
    "SetMonitoringMode": 769,
    "SetTriggering": 775,
    "DeleteMonitoredItems": 781,
    "CreateSubscription": 787,
    "ModifySubscription": 793,
    "SetPublishingMode": 799,
    "Publish": 826,
    "Republish": 832,
    "TransferSubscriptions": 841,
    "DeleteSubscriptions": 847,
    "AddNodes": 488,
    "AddReferences": 494,
    "DeleteNodes": 500,
    "DeleteReferences": 506,
    "Browse": 527,
    "BrowseNext": 533,
    "TranslateBrowsePathsToNodeIds": 554,
    "QueryFirst": 615,
    "QueryNext": 621,
    "RegisterNodes": 560,
    "UnregisterNodes": 566,
}
"""Services that SessionDiagnosticsDataType counts, with the type ids of their requests."""


def summary(server: InternalServer) -> Any:
    """ServerDiagnosticsSummary."""
    counters, service = server.counters, server.subscription_service
    data = ua.ServerDiagnosticsSummaryDataType()
    data.CurrentSessionCount = len(server.sessions)
    data.CumulatedSessionCount = counters.sessions_made
    data.SecurityRejectedSessionCount = counters.sessions_security_rejected
    data.RejectedSessionCount = counters.sessions_rejected
    data.SessionTimeoutCount = counters.sessions_timed_out
    data.SessionAbortCount = counters.sessions_aborted
    data.CurrentSubscriptionCount = len(service.subscriptions)
    data.CumulatedSubscriptionCount = service.made
    data.PublishingIntervalCount = len({each.data.RevisedPublishingInterval for each in service.subscriptions.values()})
    data.SecurityRejectedRequestsCount = counters.requests_security_rejected
    data.RejectedRequestsCount = counters.requests_rejected
    return data


def _counter(total: int, errors: int) -> Any:
    return ua.ServiceCounterDataType(TotalCount=total, ErrorCount=errors)


def session_diagnostics(server: InternalServer, session: Session) -> Any:
    """SessionDiagnosticsDataType of a session."""
    counts, service = session.counts, server.subscription_service
    owned = service.owned(session).values()
    data = ua.SessionDiagnosticsDataType()
    data.SessionId = session.session_id
    data.SessionName, data.ClientDescription = session.name, session.client_description
    data.ServerUri, data.EndpointUrl = counts.server_uri, session.endpoint_url
    data.MaxResponseMessageSize = counts.max_response
    data.LocaleIds = counts.locales
    data.ActualSessionTimeout = (session.session_timeout or 0) * 1000
    data.ClientConnectionTime = clock.to_datetime(counts.connected)
    data.ClientLastContactTime = clock.to_datetime(counts.last_contact)
    data.CurrentSubscriptionsCount = len(owned)
    data.CurrentMonitoredItemsCount = sum(each.item_count for each in owned)
    data.CurrentPublishRequestsInQueue = len(service.queue(session))
    data.TotalRequestCount = _counter(sum(counts.requests.values()), sum(counts.errors.values()))
    data.UnauthorizedRequestCount = counts.unauthorized
    for name, number in SERVICES.items():
        setattr(data, f"{name}Count", _counter(counts.requests.get(number, 0), counts.errors.get(number, 0)))
    return data


def session_security(session: Session) -> Any:
    """SessionSecurityDiagnosticsDataType of a session, encoded here: asyncua takes its String Encoding for a Byte."""
    counts = session.counts
    uri, mode = session.security
    certificate = session.client_certificate
    body = b"".join(
        (
            encode_node_id(session.session_id),
            encode_text(session.caller.user if session.caller is not None else None),
            pack_i32(len(counts.users)),
            *(encode_text(user) for user in counts.users),
            encode_text(counts.mechanism),
            encode_text("UA Binary"),
            encode_text("opc.tcp"),
            pack_i32(mode),
            encode_text(uri),
            NULL_STRING if certificate is None else pack_i32(len(certificate)) + certificate,
        )
    )
    return ua.ExtensionObject(ua.NodeId(_ID.SessionSecurityDiagnosticsDataType_Encoding_DefaultBinary), body)


def subscription_diagnostics(subscription: PointSubscription) -> Any:
    """SubscriptionDiagnosticsDataType of a subscription."""
    counts, revised = subscription.counts, subscription.data
    data = ua.SubscriptionDiagnosticsDataType()
    data.SessionId, data.SubscriptionId = subscription.session_id, subscription.id
    data.Priority = subscription.priority
    data.PublishingInterval = revised.RevisedPublishingInterval
    data.MaxKeepAliveCount, data.MaxLifetimeCount = revised.RevisedMaxKeepAliveCount, revised.RevisedLifetimeCount
    data.MaxNotificationsPerPublish = subscription.most
    data.PublishingEnabled = subscription.publishing_enabled
    data.ModifyCount, data.EnableCount, data.DisableCount = counts.modified, counts.enabled, counts.disabled
    data.RepublishRequestCount = data.RepublishMessageRequestCount = counts.republish_requests
    data.RepublishMessageCount = counts.republish_messages
    data.TransferRequestCount = counts.transfer_requests
    data.TransferredToAltClientCount = counts.to_other_client
    data.TransferredToSameClientCount = counts.to_same_client
    data.PublishRequestCount = counts.publish_requests
    data.DataChangeNotificationsCount, data.EventNotificationsCount = counts.data_changes, counts.events
    data.NotificationsCount = counts.data_changes + counts.events
    data.LatePublishRequestCount = counts.late_publish_requests
    data.CurrentKeepAliveCount, data.CurrentLifetimeCount = subscription.idle_cycles, subscription.unanswered_cycles
    data.UnacknowledgedMessageCount = len(subscription.available)
    data.DiscardedMessageCount = counts.discarded_messages
    data.MonitoredItemCount = subscription.item_count
    data.DisabledMonitoredItemCount = subscription.disabled_items
    data.MonitoringQueueOverflowCount = subscription.points.dropped + subscription.nodes.dropped
    data.NextSequenceNumber = subscription.next_sequence
    data.EventQueueOverflowCount = getattr(subscription.events, "dropped", 0)
    return data


class Diagnostics:
    """The diagnostics of one server.

    Attributes:
        enabled: EnabledFlag; while it is False the values answer BadNotReadable.
        values: number (namespace 0) -> its value for a caller; the present state of the server is among them.
    """

    def __init__(self) -> None:
        self.enabled = True
        self.values: dict[int, LiveValue] = {
            _ID.Server_ServerStatus: _status,
            _ID.Server_ServerStatus_CurrentTime: lambda *_: ua.Variant(clock.to_datetime(clock.now())),
            ENABLED_FLAG: lambda server, _: ua.Variant(self.enabled, ua.VariantType.Boolean),
            getattr(_ID, _HEAD + "ServerDiagnosticsSummary"): self._when_enabled(lambda server, _: summary(server)),
            getattr(_ID, _HEAD + "SubscriptionDiagnosticsArray"): self._when_enabled(_subscriptions),
            getattr(_ID, _HEAD + "SessionsDiagnosticsSummary_SessionDiagnosticsArray"): self._when_enabled(_sessions),
            getattr(_ID, _HEAD + "SessionsDiagnosticsSummary_SessionSecurityDiagnosticsArray"): self._when_enabled(
                _security
            ),
            # Sampling intervals are the items' own, so there are no classes of them to count by.
            getattr(_ID, _HEAD + "SamplingIntervalDiagnosticsArray"): self._when_enabled(lambda server, _: []),
        }
        for each in dataclasses.fields(ua.ServerDiagnosticsSummaryDataType):
            number = getattr(_ID, f"{_HEAD}ServerDiagnosticsSummary_{each.name}")
            self.values[number] = self._when_enabled(_member(each.name))

    def _when_enabled(self, value: Callable[[InternalServer, Access], Any]) -> LiveValue:
        def read(server: InternalServer, access: Access) -> Any:
            if not self.enabled:
                raise OperationError(ua.StatusCodes.BadNotReadable)
            found = value(server, access)
            if isinstance(found, int):
                return ua.Variant(found, ua.VariantType.UInt32)
            return ua.Variant(found, ua.VariantType.ExtensionObject, is_array=isinstance(found, list))

        return read

    def switch(self, session: Session, value: Any) -> int:
        """Write EnabledFlag; returns the StatusCode."""
        if not may_switch(session.rights):
            return int(ua.StatusCodes.BadUserAccessDenied)
        if value.VariantType != ua.VariantType.Boolean or isinstance(value.Value, list):
            return int(ua.StatusCodes.BadTypeMismatch)
        self.enabled = bool(value.Value)
        return 0


def may_switch(access: Access) -> bool:
    """Whether a caller may switch the diagnostics."""
    return access.allows(Right.ADMINISTER, "")


def _status(server: InternalServer, _: Access) -> Any:
    """ServerStatus as it was filled, now."""
    kept = server.aspace.read_attribute_value(ua.NodeId(_ID.Server_ServerStatus), ua.AttributeIds.Value).Value.Value
    status = dataclasses.replace(kept, CurrentTime=clock.to_datetime(clock.now()))
    return ua.Variant(status, ua.VariantType.ExtensionObject)


def _member(name: str) -> Callable[[InternalServer, Access], Any]:
    return lambda server, _: int(getattr(summary(server), name))


def _subscriptions(server: InternalServer, _: Access) -> Any:
    return [subscription_diagnostics(each) for each in server.subscription_service.subscriptions.values()]


def _sessions(server: InternalServer, _: Access) -> Any:
    return [session_diagnostics(server, each) for each in server.sessions]


def _security(server: InternalServer, access: Access) -> Any:
    if not (access.allows(Right.ADMINISTER, "") or access.allows(Right.AUDIT, "")):
        raise OperationError(ua.StatusCodes.BadUserAccessDenied)
    return [session_security(each) for each in server.sessions]
