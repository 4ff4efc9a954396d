"""What `/metrics` shows of a gateway."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from twin_gateway import __version__
from twin_gateway.drivers.link import LinkState
from twin_gateway.metrics import Metric, counter, gauge, labelled

if TYPE_CHECKING:
    from twin_gateway.gateway import Gateway


def collect(gateway: Gateway) -> Iterator[Metric]:
    """All metrics, in a fixed order."""
    version = {"version": __version__, "gateway": gateway.config.gateway}
    yield labelled("twin_gateway_info", "gauge", "Version and name of the gateway.", [(version, 1)])
    table = gateway.table
    yield gauge("twin_gateway_points", "Points in the table.", len(table) - table.retired)
    yield gauge("twin_gateway_points_retired", "Places of removed points, kept until the next start.", table.retired)
    for name, value in asdict(gateway.table.counters).items():
        yield counter(f"twin_gateway_table_{name}_total", f"Samples: {name.replace('_', ' ')}.", value)
    yield counter(
        "twin_gateway_lost_changes_total", "Changes that a consumer was too slow for.", gateway.lost_changes()
    )
    yield counter("twin_gateway_events_total", "Events in the event journal since the start.", gateway.events.total)
    for name, number in asdict(gateway.conditions.counts()).items():
        if name in ("dropped", "refused"):
            yield counter(f"twin_gateway_conditions_{name}_total", f"Conditions: {name} for want of room.", number)
        else:
            yield gauge(f"twin_gateway_conditions_{name}", f"Conditions: {name}.", number)
    yield from _links(gateway)
    commands = [({"result": name}, float(value)) for name, value in gateway.desk.counters.items()]
    yield labelled("twin_gateway_commands_total", "counter", "Commands by result.", commands)
    if gateway.server is not None:
        yield gauge("twin_gateway_opcua_sessions", "OPC UA sessions.", gateway.server.sessions)
        for name, value in asdict(gateway.server.subscription_totals).items():
            text = f"OPC UA subscriptions: {name.replace('_', ' ')}."
            if name in ("subscriptions", "items", "queued"):
                yield gauge(f"twin_gateway_opcua_subscription_{name}", text, value)
            else:
                yield counter(f"twin_gateway_opcua_subscription_{name}_total", text, value)
        for name, value in asdict(gateway.server.counters).items():
            yield counter(f"twin_gateway_opcua_{name}_total", f"OPC UA server: {name.replace('_', ' ')}.", value)
    yield from _history(gateway)
    yield from _mirror(gateway)


def _links(gateway: Gateway) -> Iterator[Metric]:
    links = gateway.plant.links
    yield labelled(
        "twin_gateway_link_up",
        "gauge",
        "Whether the device answers.",
        [({"link": link.name}, float(link.state is LinkState.UP)) for link in links],
    )
    yield labelled(
        "twin_gateway_link_flapping",
        "gauge",
        "Whether the link was lost more than five times within ten minutes.",
        [({"link": link.name}, float(link.flapping)) for link in links],
    )
    yield labelled(
        "twin_gateway_link_total",
        "counter",
        "What links and drivers count.",
        [
            ({"link": link.name, "what": what}, float(value))
            for link in links
            for what, value in sorted(link.counters.items())
        ],
    )


def _history(gateway: Gateway) -> Iterator[Metric]:
    if gateway.history is None:
        return
    gauges = {"waiting", "days", "octets", "paused"}
    for name, value in asdict(gateway.history.counters).items():
        if name in gauges:
            yield gauge(f"twin_gateway_history_{name}", f"History: {name}.", float(value))
        else:
            yield counter(f"twin_gateway_history_{name}_total", f"History: {name}.", float(value))


def _mirror(gateway: Gateway) -> Iterator[Metric]:
    if gateway.mirror is None:
        return
    gauges = {"connected", "in_flight", "waiting", "due", "events_waiting", "late_waiting"}
    for name, value in asdict(gateway.mirror.counters).items():
        if isinstance(value, str):
            continue
        if name in gauges:
            yield gauge(f"twin_gateway_mqtt_{name}", f"MQTT mirror: {name.replace('_', ' ')}.", float(value))
        else:
            yield counter(f"twin_gateway_mqtt_{name}_total", f"MQTT mirror: {name.replace('_', ' ')}.", float(value))
