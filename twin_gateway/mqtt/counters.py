"""What the mirror has done since the start, for metrics and the gateway's own points."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class MirrorCounters:
    """Figures of one mirror; all but the first four and the last four only ever grow.

    Attributes:
        connected: whether the broker is there.
        protocol: MQTT version of the connection, `5` or `3.1.1`; empty before the first.
        in_flight: messages sent and not acknowledged.
        last_error: why the last attempt failed or the last connection ended; empty when all is well.
        connects, disconnects, failures: connections made, connections lost, attempts that failed.
        published: messages handed to the connection.
        acknowledged: messages the broker has taken.
        refused: messages the broker acknowledged with an error.
        oversize: messages not sent because the broker does not take messages of their size.
        values: points whose value was published, in either mode.
        republished: of these, because of a reconnect or lost changes.
        coalesced: changes overtaken by a newer one before they could be published.
        lost_changes: changes the journal dropped before the mirror had read them; state is published again then.
        events, late: event messages and late samples taken in.
        events_dropped, late_dropped: of these, dropped unpublished.
        waiting, due: items of state that changed, or are to be published again.
        events_waiting, late_waiting: messages waiting.
    """

    connected: bool = False
    protocol: str = ""
    in_flight: int = 0
    last_error: str = ""
    connects: int = 0
    disconnects: int = 0
    failures: int = 0
    published: int = 0
    acknowledged: int = 0
    refused: int = 0
    oversize: int = 0
    values: int = 0
    republished: int = 0
    coalesced: int = 0
    lost_changes: int = 0
    events: int = 0
    late: int = 0
    events_dropped: int = 0
    late_dropped: int = 0
    waiting: int = 0
    due: int = 0
    events_waiting: int = 0
    late_waiting: int = 0
