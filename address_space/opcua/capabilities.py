"""ServerCapabilities and the other standard values of the Server object: what is really enforced, nothing null."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from address_space.languages import LANGUAGES
from address_space.opcua.event_filter import MOST_CLAUSES, MOST_OPERANDS
from address_space.opcua.untyped import ua

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.settings import ServerSettings

_ID = ua.ObjectIds
_U16, _U32 = ua.VariantType.UInt16, ua.VariantType.UInt32


async def fill_capabilities(server: InternalServer, settings: ServerSettings) -> None:
    """Write the standard values; to be called after the namespace is built, before clients come."""
    limits, subscriptions = server.limits, server.subscription_service.limits
    values: list[tuple[int, Any, ua.VariantType]] = [
        (_ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead, limits.max_nodes_per_read, _U32),
        (_ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerWrite, limits.max_nodes_per_write, _U32),
        (_ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerMethodCall, limits.max_nodes_per_call, _U32),
        (_ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse, limits.max_nodes_per_browse, _U32),
        (_ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerRegisterNodes, limits.max_nodes_per_register, _U32),
        (
            _ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
            limits.max_nodes_per_translate,
            _U32,
        ),
        (
            _ID.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
            subscriptions.max_items_per_call,
            _U32,
        ),
        (_ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData, 0, _U32),
        (_ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadEvents, 0, _U32),
        (_ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryUpdateData, 0, _U32),
        (_ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryUpdateEvents, 0, _U32),
        (_ID.Server_ServerCapabilities_OperationLimits_MaxNodesPerNodeManagement, 0, _U32),
        (_ID.Server_ServerCapabilities_MaxBrowseContinuationPoints, limits.max_continuation_points, _U16),
        (_ID.Server_ServerCapabilities_MaxQueryContinuationPoints, 0, _U16),
        (_ID.Server_ServerCapabilities_MaxHistoryContinuationPoints, 0, _U16),
        (_ID.Server_ServerCapabilities_MaxArrayLength, limits.max_message // 16, _U32),
        (_ID.Server_ServerCapabilities_MaxStringLength, limits.max_message, _U32),
        (_ID.Server_ServerCapabilities_MaxByteStringLength, limits.max_message, _U32),
        (_ID.Server_ServerCapabilities_MaxSessions, limits.max_sessions, _U32),
        (_ID.Server_ServerCapabilities_MaxSubscriptions, subscriptions.max_subscriptions, _U32),
        (_ID.Server_ServerCapabilities_MaxSubscriptionsPerSession, subscriptions.max_subscriptions_per_session, _U32),
        (_ID.Server_ServerCapabilities_MaxMonitoredItems, subscriptions.max_items_of_all, _U32),
        (_ID.Server_ServerCapabilities_MaxMonitoredItemsPerSubscription, subscriptions.max_items, _U32),
        (_ID.Server_ServerCapabilities_MaxMonitoredItemsQueueSize, subscriptions.max_queue_size, _U32),
        (_ID.Server_ServerCapabilities_MaxSelectClauseParameters, MOST_CLAUSES, _U32),
        (_ID.Server_ServerCapabilities_MaxWhereClauseParameters, MOST_OPERANDS, _U32),
        (_ID.Server_ServerCapabilities_MinSupportedSampleRate, 0.0, ua.VariantType.Double),
        (_ID.Server_ServerCapabilities_ServerProfileArray, [], ua.VariantType.String),
        (_ID.Server_ServerCapabilities_LocaleIdArray, list(LANGUAGES), ua.VariantType.String),
        (_ID.Server_ServerCapabilities_SoftwareCertificates, [], ua.VariantType.ExtensionObject),
        (_ID.Server_ServerRedundancy_RedundancySupport, 0, ua.VariantType.Int32),
        (_ID.Server_ServiceLevel, 255, ua.VariantType.Byte),
        (_ID.Server_Auditing, True, ua.VariantType.Boolean),
    ]
    now = datetime.datetime.now(datetime.UTC)
    for number, value, kind in values:
        node_id = ua.NodeId(number)
        if node_id not in server.aspace:
            continue
        variant = ua.Variant(value, kind, is_array=isinstance(value, list))
        # Set directly: asyncua refuses to replace its own nulls of another type.
        attribute = server.aspace[node_id].attributes[ua.AttributeIds.Value]
        attribute.value = ua.DataValue(variant, ua.StatusCode(0), SourceTimestamp=now)
    await _fill_build_info(server, settings, now)


async def _fill_build_info(server: InternalServer, settings: ServerSettings, now: datetime.datetime) -> None:
    status = ua.ServerStatusDataType()
    status.StartTime = status.CurrentTime = now
    status.State = ua.ServerState.Running
    build = status.BuildInfo
    build.ProductUri, build.ManufacturerName = settings.product_uri, settings.product_name
    build.ProductName, build.SoftwareVersion = settings.product_name, settings.software_version
    build.BuildNumber, build.BuildDate = settings.software_version, now
    await server.server_status_node.write_value(status)
    parts: list[tuple[int, Any]] = [
        (_ID.Server_ServerStatus_BuildInfo, build),
        (_ID.Server_ServerStatus_BuildInfo_ProductUri, build.ProductUri),
        (_ID.Server_ServerStatus_BuildInfo_ManufacturerName, build.ManufacturerName),
        (_ID.Server_ServerStatus_BuildInfo_ProductName, build.ProductName),
        (_ID.Server_ServerStatus_BuildInfo_SoftwareVersion, build.SoftwareVersion),
        (_ID.Server_ServerStatus_BuildInfo_BuildNumber, build.BuildNumber),
        (_ID.Server_ServerStatus_BuildInfo_BuildDate, build.BuildDate),
    ]
    for number, value in parts:
        variant = ua.Variant(value)
        attribute = server.aspace[ua.NodeId(number)].attributes[ua.AttributeIds.Value]
        attribute.value = ua.DataValue(variant, ua.StatusCode(0), SourceTimestamp=now)
