"""Methods of the Server object on monitored items: GetMonitoredItems and ResendData (Part 5, 9.1 and 9.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from address_space.opcua.standard_methods import Results, StandardMethod
from address_space.opcua.untyped import ua
from address_space.ports import Argument, MethodSpec

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session
    from address_space.opcua.subscription import PointSubscription

_ID, _CODES = ua.ObjectIds, ua.StatusCodes
_SERVER, _UINT32 = 2253, 7


def _subscription(server: InternalServer, session: Session, number: int) -> PointSubscription | int:
    """The session's subscription, or the StatusCode that says why not."""
    subscription = server.subscription_service.subscription(number)
    if subscription is None:
        return int(_CODES.BadSubscriptionIdInvalid)
    return subscription if subscription.session is session else int(_CODES.BadUserAccessDenied)


async def get_monitored_items(server: InternalServer, session: Session, inputs: Sequence[Any]) -> Results:
    """ServerHandles and ClientHandles of a subscription's items."""
    found = _subscription(server, session, int(inputs[0].Value))
    if isinstance(found, int):
        return found, ()
    handles = found.handles()
    kind = ua.VariantType.UInt32
    return 0, (
        ua.Variant([item for item, _ in handles], kind, is_array=True),
        ua.Variant([handle for _, handle in handles], kind, is_array=True),
    )


async def resend_data(server: InternalServer, session: Session, inputs: Sequence[Any]) -> Results:
    """The present value of every data item is reported once more."""
    found = _subscription(server, session, int(inputs[0].Value))
    if isinstance(found, int):
        return found, ()
    found.repeat_values()
    return 0, ()


_INPUT = (Argument("SubscriptionId", _UINT32),)
ITEM_METHODS = (
    StandardMethod(
        MethodSpec(
            "",
            "GetMonitoredItems",
            _INPUT,
            (Argument("ServerHandles", _UINT32, is_list=True), Argument("ClientHandles", _UINT32, is_list=True)),
        ),
        frozenset({_SERVER}),
        frozenset({_ID.Server_GetMonitoredItems, _ID.ServerType_GetMonitoredItems}),
        get_monitored_items,
        anybody=True,
    ),
    StandardMethod(
        MethodSpec("", "ResendData", _INPUT, ()),
        frozenset({_SERVER}),
        frozenset({_ID.Server_ResendData, _ID.ServerType_ResendData}),
        resend_data,
        anybody=True,
    ),
)
"""To be registered with `server.standard_methods`."""
