"""Nodes that tell what history there is (Part 11, 5): HistoryServerCapabilities, HA Configurations, aggregates."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from address_space.opcua.history_processed import AGGREGATE_IDS, DEFAULTS
from address_space.opcua.history_series import stepped
from address_space.opcua.space import Node, Reference
from address_space.opcua.untyped import ua
from address_space.opcua.wire import encode_node_id, localized_text, numeric_node_id, qualified_name
from address_space.ports import HistoryReader
from address_space.table import PointTable

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer

_ID = ua.ObjectIds
_HAS_HISTORICAL_CONFIGURATION, _ORGANIZES, _HAS_COMPONENT = 56, 35, 47
_CONFIGURATION_TYPE = 2318
_OBJECT = 1
_SUBSCRIBE, _HISTORY_READ = 1, 4
_SLOPED = int(_ID.HAConfiguration)
_PARTS = {
    _SLOPED: "HA Configuration",
    int(_ID.HAConfiguration_Stepped): "HA Configuration/Stepped",
    int(_ID.HAConfiguration_AggregateConfiguration): "HA Configuration/AggregateConfiguration",
    int(_ID.HAConfiguration_AggregateConfiguration_TreatUncertainAsBad): "HA Configuration/TreatUncertainAsBad",
    int(_ID.HAConfiguration_AggregateConfiguration_PercentDataBad): "HA Configuration/PercentDataBad",
    int(_ID.HAConfiguration_AggregateConfiguration_PercentDataGood): "HA Configuration/PercentDataGood",
    int(_ID.HAConfiguration_AggregateConfiguration_UseSlopedExtrapolation): "HA Configuration/UseSlopedExtrapolation",
}
"""Nodes of the standard's HA Configuration, which is that of measured values -> names of their copies for others."""
_COPIES = 1
"""Namespace of the copies: that of the server itself."""


def _stepped_id(number: int) -> Any:
    return ua.NodeId(f"{_PARTS[number]} (stepped)", _COPIES)


def configuration_reference(*, stepped: bool) -> Reference:
    """The HasHistoricalConfiguration reference of a point to the configuration of all points of its kind."""
    target = encode_node_id(_stepped_id(_SLOPED)) if stepped else numeric_node_id(_SLOPED)
    name = "HA Configuration"
    return Reference(
        _HAS_HISTORICAL_CONFIGURATION,
        True,
        target,
        qualified_name(name, 0),
        localized_text(name),
        _OBJECT,
        numeric_node_id(_CONFIGURATION_TYPE),
        None,
    )


class PointHistory:
    """What nodes say of their history.

    Args:
        history: the port.
        table: the points.
    """

    def __init__(self, history: HistoryReader, table: PointTable) -> None:
        self._history, self._table = history, table

    def keeps(self, node: Node) -> bool:
        """Whether samples of the node are kept."""
        return node.is_point and self._history.keeps(node.owner)

    def references(self, node: Node) -> Iterator[Reference]:
        """HasHistoricalConfiguration of a point whose samples are kept."""
        if self.keeps(node):
            yield configuration_reference(stepped=stepped(self._table, node.row))


def fill_history(server: InternalServer) -> None:
    """Give the standard's nodes of history their true values; without history they say so."""
    there = server.ports.history is not None
    limits = server.limits
    if server.ports.history is not None:
        server.space.history = PointHistory(server.ports.history, server.table)
    flags = {
        _ID.HistoryServerCapabilities_AccessHistoryDataCapability: there,
        _ID.HistoryServerCapabilities_AccessHistoryEventsCapability: there,
        _ID.HistoryServerCapabilities_ServerTimestampSupported: there,
        **dict.fromkeys(
            (
                _ID.HistoryServerCapabilities_InsertDataCapability,
                _ID.HistoryServerCapabilities_ReplaceDataCapability,
                _ID.HistoryServerCapabilities_UpdateDataCapability,
                _ID.HistoryServerCapabilities_DeleteRawCapability,
                _ID.HistoryServerCapabilities_DeleteAtTimeCapability,
                _ID.HistoryServerCapabilities_InsertEventCapability,
                _ID.HistoryServerCapabilities_ReplaceEventCapability,
                _ID.HistoryServerCapabilities_UpdateEventCapability,
                _ID.HistoryServerCapabilities_DeleteEventCapability,
                _ID.HistoryServerCapabilities_InsertAnnotationCapability,
            ),
            False,
        ),
        _ID.HAConfiguration_Stepped: False,
        _ID.HAConfiguration_AggregateConfiguration_TreatUncertainAsBad: DEFAULTS.treat_uncertain_as_bad,
        _ID.HAConfiguration_AggregateConfiguration_UseSlopedExtrapolation: DEFAULTS.sloped_extrapolation,
    }
    operation = "Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryRead"
    values: list[tuple[int, Any, Any]] = [(number, value, ua.VariantType.Boolean) for number, value in flags.items()]
    values += [
        (_ID.HistoryServerCapabilities_MaxReturnDataValues, limits.max_history_values, ua.VariantType.UInt32),
        (_ID.HistoryServerCapabilities_MaxReturnEventValues, limits.max_history_values, ua.VariantType.UInt32),
        (getattr(_ID, operation + "Data"), limits.max_nodes_per_history_data, ua.VariantType.UInt32),
        (getattr(_ID, operation + "Events"), limits.max_nodes_per_history_events, ua.VariantType.UInt32),
        (
            _ID.Server_ServerCapabilities_MaxHistoryContinuationPoints,
            limits.max_history_continuation_points,
            ua.VariantType.UInt16,
        ),
        (_ID.HAConfiguration_AggregateConfiguration_PercentDataBad, DEFAULTS.percent_bad, ua.VariantType.Byte),
        (_ID.HAConfiguration_AggregateConfiguration_PercentDataGood, DEFAULTS.percent_good, ua.VariantType.Byte),
    ]
    for number, value, kind in values:
        _set(server, ua.NodeId(number), value, kind)
    if there:
        for folder in (
            _ID.HistoryServerCapabilities_AggregateFunctions,
            _ID.Server_ServerCapabilities_AggregateFunctions,
        ):
            for function in AGGREGATE_IDS:
                _link(server, ua.NodeId(folder), ua.NodeId(function), _ORGANIZES)
        _copy_configuration(server)
        for configuration in (ua.NodeId(_SLOPED), _stepped_id(_SLOPED)):
            target = ua.NodeId(_ID.HistoryServerCapabilities_AggregateFunctions)
            _link(server, configuration, target, _HAS_COMPONENT)
        notifier: Any = server.aspace[ua.NodeId(_ID.Server)].attributes[ua.AttributeIds.EventNotifier]
        before = notifier.value.Value.Value if notifier.value is not None else 0
        notifier.value = ua.DataValue(ua.Variant(int(before) | _SUBSCRIBE | _HISTORY_READ, ua.VariantType.Byte))


def _set(server: InternalServer, node_id: Any, value: Any, kind: Any) -> None:
    node = server.aspace.get(node_id)
    if node is None:
        return
    now = datetime.datetime.now(datetime.UTC)
    node.attributes[ua.AttributeIds.Value].value = ua.DataValue(
        ua.Variant(value, kind), ua.StatusCode(0), SourceTimestamp=now
    )


def _copy_configuration(server: InternalServer) -> None:
    """The HA Configuration of points whose values hold until the next one."""
    for number in _PARTS:
        node = copy.deepcopy(server.aspace[ua.NodeId(number)])
        node.nodeid = _stepped_id(number)
        node.attributes[ua.AttributeIds.NodeId].value = ua.DataValue(ua.Variant(node.nodeid, ua.VariantType.NodeId))
        for reference in node.references:
            if reference.NodeId.NamespaceIndex == 0 and reference.NodeId.Identifier in _PARTS:
                reference.NodeId = _stepped_id(reference.NodeId.Identifier)
        server.aspace[node.nodeid] = node
    _set(server, _stepped_id(int(_ID.HAConfiguration_Stepped)), True, ua.VariantType.Boolean)


def _link(server: InternalServer, source: Any, target: Any, kind: int) -> None:
    """A reference in both directions."""
    for here, there, forward in ((source, target, True), (target, source, False)):
        node: Any = server.aspace[there]
        reference = ua.ReferenceDescription()
        reference.ReferenceTypeId = ua.NodeId(kind)
        reference.IsForward = forward
        reference.NodeId = there
        reference.NodeClass = ua.NodeClass.Object
        reference.BrowseName = node.attributes[ua.AttributeIds.BrowseName].value.Value.Value
        reference.DisplayName = node.attributes[ua.AttributeIds.DisplayName].value.Value.Value
        definition = next(
            (each.NodeId for each in node.references if each.IsForward and each.ReferenceTypeId == ua.NodeId(40)), None
        )
        if definition is not None:
            reference.TypeDefinition = definition
        server.aspace[here].references.append(reference)
