"""An identification from data to findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twin_gateway.twin.lv_topology.clustering import cluster, groups
from twin_gateway.twin.lv_topology.correlation import Courses, busbar_voltage, courses, phase_power
from twin_gateway.twin.lv_topology.data import AreaData
from twin_gateway.twin.lv_topology.energy import EnergyResult, energy_balance
from twin_gateway.twin.lv_topology.events import LastGasp, SupplyLoss, outage_vote
from twin_gateway.twin.lv_topology.finding import Finding, MethodVote, Reason, State
from twin_gateway.twin.lv_topology.fusion import MeterPlaces, Weight, by_meter, fuse, halves, stability, weigh, words
from twin_gateway.twin.lv_topology.increments import parents, shared_resistances
from twin_gateway.twin.lv_topology.plc import Hearing, carrier_vote
from twin_gateway.twin.lv_topology.records import Record, record_vote, same_phases, trust_in
from twin_gateway.twin.lv_topology.votes import Vote

F64 = NDArray[np.float64]
METHODS = ("voltage", "drop", "energy", "cluster", "increments", "plc", "events", "records")
"""Names of the methods, as `Identify` takes them."""


@dataclass(frozen=True)
class Evidence:
    """What is known beside the profiles."""

    records: tuple[Record, ...] = ()
    hearings: tuple[Hearing, ...] = ()
    gasps: tuple[LastGasp, ...] = ()
    losses: tuple[SupplyLoss, ...] = ()


@dataclass(frozen=True)
class Identification:
    """The result of an identification.

    Attributes:
        findings: one per meter, in the order of the data.
        weights: how far each method was believed.
        trust: in the records, as the data find them; NaN when they took no part.
        unexplained: W per place, root mean square of the increments that no meter explains.
        start, end: window, Unix seconds.
    """

    findings: tuple[Finding, ...]
    weights: tuple[Weight, ...]
    trust: float
    start: float
    end: float
    unexplained: tuple[float, ...] = field(default=())


def identify(
    data: AreaData,
    evidence: Evidence = Evidence(),
    methods: Sequence[str] = METHODS,
    threshold: float = 0.95,
) -> Identification:
    """Find transformer, phases and parent of every meter.

    Args:
        data: profiles of meters and transformer monitors.
        evidence: records and events.
        methods: names out of `METHODS`.
        threshold: confidence from which a finding is not unknown.

    Raises:
        ValueError: an unknown method, or fewer records than meters.
    """
    strange = [name for name in methods if name not in METHODS]
    if strange:
        raise ValueError(f"there is no method {strange[0]!r}; there are {', '.join(METHODS)}")
    if evidence.records and len(evidence.records) != len(data.meters):
        raise ValueError("there must be one record per meter")
    window = _Window(data, courses(data))
    parts = [_Window(half, courses(half)) for half in halves(data)]
    votes, stable, energy = _measured(window, parts, evidence, methods)
    group = groups(data, window.course) if "cluster" in methods else np.full(len(data.v), -1)
    if "cluster" in methods and votes:
        votes, stable = _with_clusters(window, parts, votes, stable, group)
    weights = weigh(votes, stable)
    full = fuse(votes, weights) if votes else np.zeros((len(data.v), data.places + 1))
    trust = float("nan")
    if "records" in methods and evidence.records:
        trust = _trust(data, evidence.records, by_meter(data, full), threshold)
        prior = record_vote(data, evidence.records, trust)
        votes = [*votes, prior]
        weights = [*weights, Weight(prior.method, 1.0, 50.0, float("nan"), trust)]
        full = full + words(prior.log_odds, 1.0, 50.0)
    places = by_meter(data, full)
    spoke = _spoke(data, [vote for vote in votes if vote.method != "records"])
    parent = _parents(window, places, threshold) if "increments" in methods else [""] * len(data.meters)
    said = _said(data, votes, weights)
    case = _Case(data, places, evidence.records, threshold, spoke, parent, said, group, energy)
    findings = [_finding(case, meter) for meter in range(len(data.meters))]
    return Identification(
        tuple(findings),
        tuple(weights),
        trust,
        data.start,
        data.start + data.step * data.intervals,
        tuple(float(value) for value in energy.unexplained) if energy is not None else (),
    )


@dataclass(frozen=True)
class _Window:
    """A window or a half of it, with what several methods make of it."""

    data: AreaData
    course: Courses


def _measured(
    window: _Window, parts: Sequence[_Window], evidence: Evidence, methods: Sequence[str]
) -> tuple[list[Vote], dict[str, tuple[float, float]], EnergyResult | None]:
    """Votes of the methods that need no other's word, and their stability between the halves of the window."""
    votes: list[Vote] = []
    stable: dict[str, tuple[float, float]] = {}
    data, (first, second) = window.data, parts
    energy: EnergyResult | None = None
    simple: dict[str, Callable[[AreaData, Courses], Vote]] = {"voltage": busbar_voltage, "drop": phase_power}
    for name, method in simple.items():
        if name in methods:
            votes.append(method(data, window.course))
            stable[name] = stability(*(method(part.data, part.course) for part in parts))
    if "energy" in methods:
        energy = energy_balance(data)
        votes.append(energy.vote)
        stable["energy"] = stability(energy_balance(first.data).vote, energy_balance(second.data).vote)
    if "plc" in methods and evidence.hearings:
        votes.append(carrier_vote(data, evidence.hearings))
    if "events" in methods and evidence.losses:
        votes.append(outage_vote(data, evidence.gasps, evidence.losses))
    votes = [vote for vote in votes if np.abs(vote.log_odds).sum() > 0]
    return votes, stable, energy


def _with_clusters(
    window: _Window,
    parts: Sequence[_Window],
    votes: list[Vote],
    stable: dict[str, tuple[float, float]],
    group: NDArray[np.int64],
) -> tuple[list[Vote], dict[str, tuple[float, float]]]:
    """Add the vote of the clusters, which the others name; its halves are clustered apart, named the same way."""
    anchor = _anchor(votes, weigh(votes, stable))
    vote = cluster(window.data, anchor, group, course=window.course)
    if not np.abs(vote.log_odds).sum() > 0:
        return votes, stable
    first, second = (cluster(part.data, anchor, course=part.course) for part in parts)
    return [*votes, vote], {**stable, "cluster": stability(first, second)}


def _anchor(votes: Sequence[Vote], weights: Sequence[Weight]) -> F64:
    full = fuse(votes, weights)
    full = np.exp(full - full.max(1, keepdims=True))
    return np.asarray(full / full.sum(1, keepdims=True))


def _trust(data: AreaData, records: Sequence[Record], places: MeterPlaces, threshold: float) -> float:
    agreeing = compared = 0
    for meter, record in enumerate(records):
        if record.transformer and places.transformer[meter] >= 0 and places.confidence[meter] >= threshold:
            compared += 1
            agreeing += _agrees(data, record, int(places.transformer[meter]), places.order[meter])
    return trust_in(agreeing, compared)


def _agrees(data: AreaData, record: Record, transformer: int, phases: str) -> bool:
    return record.transformer == data.transformers[transformer] and (
        not record.phases or same_phases(record.phases, phases)
    )


def _spoke(data: AreaData, votes: Sequence[Vote]) -> NDArray[np.bool_]:
    """Whether any measuring method said anything of a meter."""
    told = np.zeros(len(data.v), bool)
    for vote in votes:
        told |= np.abs(vote.log_odds).sum(1) > 0
    out = np.zeros(len(data.meters), bool)
    out[data.channel_meter[told]] = True
    return out


def _said(data: AreaData, votes: Sequence[Vote], weights: Sequence[Weight]) -> list[tuple[MethodVote, ...]]:
    """What each method says of each meter."""
    said: list[list[MethodVote]] = [[] for _ in data.meters]
    for vote, weight in zip(votes, weights, strict=True):
        places = by_meter(data, words(vote.log_odds, weight.scale, weight.limit))
        spoke = _spoke(data, [vote])
        for meter in np.flatnonzero(spoke):
            at = int(places.transformer[meter])
            said[meter].append(
                MethodVote(
                    vote.method,
                    data.transformers[at] if at >= 0 else "",
                    places.order[meter],
                    float(places.confidence[meter]),
                )
            )
    return [tuple(one) for one in said]


def _parents(window: _Window, places: MeterPlaces, threshold: float) -> list[str]:
    """The next meter up the line, among the first terminals of sure meters of one phase and transformer."""
    data = window.data
    out = [""] * len(data.meters)
    first = np.searchsorted(data.channel_meter, np.arange(len(data.meters)))
    letter = np.array([order[:1] for order in places.order])
    sure = (places.transformer >= 0) & (places.confidence >= threshold)
    lines = []
    rest = []
    for transformer in range(len(data.transformers)):
        at = np.flatnonzero(sure & (places.transformer == transformer))
        if data.intervals < 4 * len(at):
            continue
        for phase in "ABC":
            mine = at[letter[at] == phase]
            if len(mine) >= 3:
                lines.append(mine)
                rest.append(at[letter[at] != phase])
    sets = [(first[mine], first[others]) for mine, others in zip(lines, rest, strict=True)]
    for mine, shared in zip(lines, shared_resistances(data, sets, window.course), strict=True):
        for meter, up in zip(mine, parents(shared), strict=True):
            if up >= 0:
                out[meter] = data.meters[mine[up]]
    return out


@dataclass(frozen=True)
class _Case:
    """All that the findings of one identification are made of, by meter or channel."""

    data: AreaData
    places: MeterPlaces
    records: Sequence[Record]
    threshold: float
    spoke: NDArray[np.bool_]
    parent: Sequence[str]
    said: Sequence[tuple[MethodVote, ...]]
    group: NDArray[np.int64]
    energy: EnergyResult | None


def _finding(case: _Case, meter: int) -> Finding:
    data, places = case.data, case.places
    record = case.records[meter] if case.records else Record()
    at = int(places.transformer[meter])
    confidence = float(places.confidence[meter])
    channel = int(np.searchsorted(data.channel_meter, meter))
    state, reason = State.UNKNOWN, Reason.NONE
    if not case.spoke[meter]:
        reason, at, confidence = Reason.NO_DATA, -1, 0.0
    elif confidence < case.threshold:
        reason = Reason.AMBIGUOUS
    elif at < 0:
        reason = Reason.ELSEWHERE
    else:
        state = State.AGREES if _agrees(data, record, at, places.order[meter]) else State.DIFFERS
    return Finding(
        meter=data.meters[meter],
        transformer=data.transformers[at] if at >= 0 else "",
        phases=places.order[meter] if at >= 0 else "",
        confidence=confidence,
        state=state,
        reason=reason,
        parent=case.parent[meter] if state != State.UNKNOWN else "",
        recorded_transformer=record.transformer,
        recorded_phases=record.phases,
        votes=case.said[meter],
        group=int(case.group[channel]),
        lag=int(case.energy.lag[channel]) if case.energy is not None else 0,
    )
