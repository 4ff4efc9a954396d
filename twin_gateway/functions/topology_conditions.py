"""Conditions of the live topology: loops, unknown switches, dead areas, unwanted voltage (spec 9.2)."""

from __future__ import annotations

import numpy as np

from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.positions import SwitchPositions
from twin_gateway.functions.topology_evidence import VoltageEvidence
from twin_gateway.functions.topology_settings import TopologySettings
from twin_gateway.grid.model import Position
from twin_gateway.grid.topology import LiveTopology
from twin_gateway.grid.zones import Flags, Indexes

POSITION_DELAY_S = 10.0
_NAMES = {Position.UNKNOWN: "unknown", Position.OPEN: "open", Position.CLOSED: "closed"}


class TopologyConditions:
    """Raises and clears T02, P09, S02, S03 and S08; each call tells what is new only.

    Args:
        alarms: where they go.
        settings: see `TopologySettings`.
        live: the topology, for its graph and the normal state.
        place: address for what belongs to no feeder.
    """

    def __init__(self, alarms: Alarms, settings: TopologySettings, live: LiveTopology, place: str) -> None:
        self._alarms, self._settings, self._place = alarms, settings, place
        graph = live.graph
        normal = LiveTopology.of(graph)
        numbers = {address: number for number, address in enumerate(graph.feeders)}
        key_of_feed = {key: numbers[feed.feeders[0]] if feed.feeders else -1 for key, feed in normal.dark.feeds.items()}
        # The feeder that each zone belongs to in the normal switching state.
        self.home: Indexes = np.array([key_of_feed[key] for key in normal.dark.fed.tolist()], np.intp)
        self._feeders: dict[int, str] = {}
        self._live_at: dict[int, str] = {}
        self._deviating: Flags = np.zeros(len(graph.devices), bool)
        self._between: Flags = np.zeros(len(graph.devices), bool)
        self._earthed_live: Flags = np.zeros(len(graph.devices) - graph.switch_count, bool)

    # ---- switches -------------------------------------------------------------------------------------------------

    def switches(self, live: LiveTopology, positions: SwitchPositions, devices: Indexes) -> None:
        """S02 and S03 of devices whose points have changed."""
        graph = live.graph
        deviates = (live.positions[devices] != graph.normal[devices]) & (live.positions[devices] != Position.UNKNOWN)
        # A position that is not known says neither that the switch has gone back nor that it has not.
        known = live.positions[devices] != Position.UNKNOWN
        new = known & (deviates != self._deviating[devices])
        for device, now in zip(devices[new].tolist(), deviates[new].tolist(), strict=True):
            if now != self._deviating[device]:
                self._deviating[device] = now
                is_now = _NAMES[Position(int(live.positions[device]))]
                text = f"{is_now}, not in its normal position" if now else f"{is_now}, back in its normal position"
                if now:
                    self._alarms.raise_("S03", graph.devices[device], text, 200, delay=self._settings.alarm_delay)
                else:
                    self._alarms.clear("S03", graph.devices[device], text)
        if not self._settings.position_alarms:
            return
        told = devices[positions.rows[devices] >= 0]
        between = positions.told_between(told)
        new = between != self._between[told]
        for device, now in zip(told[new].tolist(), between[new].tolist(), strict=True):
            if now != self._between[device]:
                self._between[device] = now
                point = graph.ratings[device].position
                text = "Position is intermediate or bad"
                self._alarms.set(now, "S02", point, text, 750, delay=POSITION_DELAY_S)

    # ---- areas ----------------------------------------------------------------------------------------------------

    def areas(self, live: LiveTopology) -> None:
        """T02 of feeders, by the normal feeder of what is concerned."""
        graph, home = live.graph, self.home
        count = len(graph.feeders)
        texts: dict[int, list[str]] = {}
        looped = live.looped & ~graph.meshed
        places = np.flatnonzero(looped)
        places = places[np.argsort(home[places], kind="stable")]
        concerned, first = np.unique(home[places], return_index=True)
        groups = dict(zip(concerned.tolist(), np.split(places, first[1:]), strict=True)) if len(places) else {}
        # Busbars that a loop goes over are told by its feeders.
        for number in concerned[concerned >= 0].tolist() or concerned.tolist():
            zones = groups[number]
            feeds = [live.light.feeds[key] for key in set(live.light.fed[zones].tolist())]
            sure = "" if live.dark.looped[zones].any() else "perhaps "
            parallel = any(len(feed.sources) > 1 for feed in feeds)
            texts.setdefault(number, []).append(sure + ("sources in parallel" if parallel else "a closed loop"))
        unknown = live.unknown
        unknown = unknown[unknown < graph.switch_count]
        one, other = home[graph.ends[unknown]].reshape(-1, 2).T
        touching = np.bincount(np.concatenate([one, other[other != one]]) + 1, minlength=count + 1)
        for number in (np.flatnonzero(touching) - 1).tolist():
            many = int(touching[number + 1])
            texts.setdefault(number, []).append(f"{many} switch{'es' if many > 1 else ''} of unknown position")
        dead = np.bincount(home + 1, weights=graph.customers * ~live.energised, minlength=count + 1)
        for index in np.flatnonzero(dead > self._settings.dead_customers).tolist():
            texts.setdefault(index - 1, []).append(f"{int(dead[index])} customers without supply")
        for number in {*texts, *self._feeders}:
            text = "; ".join(texts.get(number, ()))
            if text == self._feeders.get(number, ""):
                continue
            address = graph.feeders[number] if number >= 0 else self._place
            if text:
                self._feeders[number] = text
                self._alarms.raise_("T02", address, text, 700, delay=self._settings.alarm_delay)
            else:
                del self._feeders[number]
                self._alarms.clear("T02", address)

    def voltages(self, live: LiveTopology, evidence: VoltageEvidence) -> None:
        """P09 of dead islands that are measured live, S08 of earthing switches closed where there is voltage."""
        graph, island = live.graph, live.light.island
        witnesses = evidence.live()
        unfed = witnesses & ~live.energised[evidence.zones]
        found: dict[int, list[int]] = {}
        for index in np.flatnonzero(unfed).tolist():
            found.setdefault(int(island[evidence.zones[index]]), []).append(index)
        now = {
            int(evidence.rows[rows[0]]): (
                f"Live by {len(rows)} measured point{'s' if len(rows) > 1 else ''} although no source feeds it, "
                f"at {graph.nodes[graph.first_node[number]]}"
            )
            for number, rows in found.items()
        }
        for row in {*now, *self._live_at}:
            if now.get(row) != self._live_at.get(row):
                address = evidence.address(row)
                if row in now:
                    self._alarms.raise_("P09", address, now[row], 950, delay=self._settings.voltage_delay)
                else:
                    self._alarms.clear("P09", address)
        self._live_at = now
        self._earthing(live, evidence, witnesses)

    def _earthing(self, live: LiveTopology, evidence: VoltageEvidence, witnesses: Flags) -> None:
        graph = live.graph
        closed = live.positions[graph.switch_count :] == Position.CLOSED
        measured = np.zeros(graph.zone_count, bool)
        measured[live.dark.island[evidence.zones[witnesses]]] = True
        by_measurement = np.any(measured[live.dark.island][graph.earth_zone], axis=1)
        by_topology = np.any(live.energised[graph.earth_zone], axis=1)
        holds = closed & (by_measurement | by_topology)
        for number in np.flatnonzero(holds != self._earthed_live).tolist():
            address = graph.devices[graph.switch_count + number]
            how = "measured" if by_measurement[number] else "fed by the positions of the switches"
            text = f"Earthing switch closed with voltage present ({how})"
            self._alarms.set(bool(holds[number]), "S08", address, text, 990)
        self._earthed_live = holds
