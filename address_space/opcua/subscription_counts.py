"""Counters of one subscription, as SubscriptionDiagnosticsDataType (Part 5, 12.15) tells them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SubscriptionCounts:
    """What happened in a subscription since it was made; names as in SubscriptionDiagnosticsDataType.

    Attributes:
        modified, enabled, disabled: ModifySubscription and SetPublishingMode calls.
        republish_requests, republish_messages: Republish calls, and those that found their message.
        transfer_requests: TransferSubscriptions calls; `to_other_client` and `to_same_client` those that moved it.
        publish_requests: publish requests that it answered or that came while it was the session's.
        data_changes, events: notifications sent.
        late_publish_requests: cycles that had to wait for a publish request.
        discarded_messages: messages that left the retransmission queue without an acknowledgement.
    """

    modified: int = 0
    enabled: int = 0
    disabled: int = 0
    republish_requests: int = 0
    republish_messages: int = 0
    transfer_requests: int = 0
    to_other_client: int = 0
    to_same_client: int = 0
    publish_requests: int = 0
    data_changes: int = 0
    events: int = 0
    late_publish_requests: int = 0
    discarded_messages: int = 0
