"""Power flow and state estimation at work: every few seconds and when a switch moves, from the live values."""

from __future__ import annotations

import asyncio
import logging
import math
import pickle
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from address_space.ports import Argument, Caller, MethodResult, MethodSpec, Right
from address_space.quality import StatusCode, worst
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.following import BATCH
from twin_gateway.functions.powerflow_inputs import PowerFlowInputs
from twin_gateway.functions.powerflow_job import Report, Snapshot, StateNumbers, UnknownGridError, compute
from twin_gateway.functions.powerflow_job import report as compute_here
from twin_gateway.functions.powerflow_loads import LoadInputs
from twin_gateway.functions.powerflow_points import PowerFlowPoints
from twin_gateway.functions.powerflow_settings import PowerFlowSettings
from twin_gateway.functions.slices import in_slices
from twin_gateway.functions.topology_points import function_of
from twin_gateway.functions.worker import ComputeError, Worker
from twin_gateway.grid.arrays import GridArrays
from twin_gateway.grid.model import GridError
from twin_gateway.grid.powerflow import FlowModel

log = logging.getLogger(__name__)

_BOOLEAN, _DOUBLE, _STRING = 1, 11, 12
_INLINE_NODES, _INLINE_S, _SLOW = 40, 0.015, 3
"""Grids up to this many nodes are computed in place, until that has taken longer so many times in a row."""
_SETTLE_S = 0.2
"""Switches of one operation move together."""
_NAMED = 3
_LOADS = ("LodMeas", "LodAlc", "LodNom")
"""Numbers of loads that are measured, allocated from measured transformers, and as in the grid model."""
_BAD, _NO_FLOW, _NOT_SEEN = "T03", "T04", "T05"

_BRANCH_TABLE = (
    Argument("branch", _STRING, "addresses of lines, transformers and switches", is_list=True),
    Argument("w", _DOUBLE, "W into terminal 1", is_list=True),
    Argument("var", _DOUBLE, "var into terminal 1", is_list=True),
    Argument("a", _DOUBLE, "A, mean of the phases", is_list=True),
    Argument("loading", _DOUBLE, "percent of the limit; NaN without one", is_list=True),
    Argument("node", _STRING, "addresses of connectivity nodes", is_list=True),
    Argument("v", _DOUBLE, "per unit of the nominal voltage; 0 where nothing is energised", is_list=True),
)
_FLOW_OUTPUTS = (
    Argument("feasible", _BOOLEAN, "there is a solution; without one there are no numbers"),
    Argument("reason", _STRING, "why there is none"),
    Argument("engine", _STRING, "what computed it"),
    Argument("notes", _STRING, "approximations and assumptions", is_list=True),
    Argument("loss", _DOUBLE, "W of all lines and transformers"),
    Argument("lossVar", _DOUBLE, "var"),
    Argument("supplied", _DOUBLE, "W that the sources deliver"),
    Argument("suppliedVar", _DOUBLE, "var"),
    Argument("lowest", _DOUBLE, "lowest voltage, per unit"),
    Argument("lowestAt", _STRING, "its node"),
    Argument("highest", _DOUBLE, "highest loading, percent"),
    Argument("highestAt", _STRING, "its branch"),
    *_BRANCH_TABLE,
)
_STATE_OUTPUTS = (
    Argument("observable", _BOOLEAN, "every part that is fed has been estimated"),
    Argument("island", _STRING, "a node of each part that is fed, or may be", is_list=True),
    Argument("islandObservable", _BOOLEAN, "it has been estimated", is_list=True),
    Argument("islandMissing", _STRING, "what is missing where it has not", is_list=True),
    Argument("bad", _STRING, "points whose values contradict the others, worst first", is_list=True),
    Argument("badMeasured", _DOUBLE, "measured, in the sense of the grid model", is_list=True),
    Argument("badEstimated", _DOUBLE, "what the others say", is_list=True),
    Argument("badResidual", _DOUBLE, "difference in standard deviations", is_list=True),
    Argument("unused", _STRING, "points that say nothing", is_list=True),
    Argument("unusedWhy", _STRING, "why", is_list=True),
    Argument("loss", _DOUBLE, "W of the lines and transformers that have been estimated"),
    *_BRANCH_TABLE,
)


class PowerFlow:
    """The twin function; see `TwinFunction` for the contract.

    Attributes:
        owner: address of the object that has the methods.
        last: the newest report; None before the first.
        took: seconds that the newest computation took, for measurements.
    """

    name = "powerflow"

    def __init__(self, context: TwinContext, settings: PowerFlowSettings, *, assume_normal: bool = False) -> None:
        self._context, self._settings = context, settings
        self.owner = function_of(context.place)
        self._measurements = tuple(context.grid.measurements.values())
        self._refusal = ""
        self._model: FlowModel | None = None
        try:
            self._model = FlowModel(context.grid)
        except GridError as error:
            self._refusal = str(error)
        self._loads = LoadInputs(context.grid, self._model) if self._model is not None else None
        self._inputs = PowerFlowInputs(
            context.table,
            context.grid,
            assume_normal=assume_normal,
            meters=self._loads.meters if self._loads is not None else (),
            meter_age=settings.meter_age,
        )
        self._points: PowerFlowPoints | None = None
        if self._model is not None:
            self._points = PowerFlowPoints(
                context.results,
                context.table,
                self._model.arrays,
                context.place,
                estimates=settings.estimates,
                deadband=settings.deadband,
            )
        else:
            context.results.add([f"{self.owner}/PFConv", f"{self.owner}/SEObs"])
        context.results.add(f"{self.owner}/{name}" for name in _LOADS)
        self._slow = 0
        self._beside = len(context.grid.nodes) > _INLINE_NODES
        self._worker = Worker()
        self._key = f"grid-{id(self):x}"
        self._pickled = pickle.dumps(context.grid) if self._model is not None else b""
        self._sent = False
        self._lock = asyncio.Lock()
        self._told: set[str] = set()
        self.last: Report | None = None
        self.took = 0.0

    def prepare(self) -> None:
        """Look up the rows of positions and measurements."""
        self._inputs.refresh()

    # ---- following ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Compute until cancelled."""
        wake = asyncio.Event()
        cursor = self._context.table.journal.cursor(self.name, wake.set)
        try:
            if self._model is None:
                self._refuse()
                await asyncio.Event().wait()
            while True:
                started = time.monotonic()
                await self._step()
                due = started + self._settings.every
                while (left := due - time.monotonic()) > 0:
                    try:
                        async with asyncio.timeout(left):
                            await wake.wait()
                    except TimeoutError:
                        break
                    wake.clear()
                    while cursor.pending:
                        if self._inputs.moved(cursor.take(BATCH)):
                            due = min(due, time.monotonic() + _SETTLE_S)
                        await asyncio.sleep(0)
                    await asyncio.sleep(min(0.05, max(0.0, due - time.monotonic())))
                cursor.skip()
        finally:
            cursor.close()
            self._worker.close()

    async def _step(self) -> None:
        snapshot, quality, ticks = await self._snapshot()
        try:
            found = await self._compute(snapshot)
        except (ComputeError, GridError) as error:
            log.warning("power flow: %s", error)
            self._context.alarms.raise_(
                _NO_FLOW, self._context.place, f"no power flow: {error}", 500, delay=self._settings.alarm_delay
            )
            if self._points is not None:
                await in_slices(self._points.nothing(ticks))
                await asyncio.sleep(0)
            return
        self.last = found
        counts = self._tell(found)
        counted = {f"{self.owner}/{name}": count for name, count in zip(_LOADS, found.loads, strict=True)}
        self._context.results.write(counted, quality, ticks)
        if self._points is not None:
            await in_slices(self._points.write(found, quality, ticks, counts))
            await asyncio.sleep(0)

    async def _snapshot(self, *, estimate: bool = True) -> tuple[Snapshot, int, int]:
        # Of a large grid each of these takes some milliseconds. Positions come last: they may be newer than the time
        # that is given for the result, never older.
        values, quality, ticks = self._inputs.values()
        await asyncio.sleep(0)
        settings, metered = self._settings, self._inputs.meters()
        await asyncio.sleep(0)
        snapshot = Snapshot(
            self._inputs.positions(),
            values,
            settings.scale,
            settings.estimation(),
            estimate,
            metered.powers,
            metered.age,
        )
        words = np.array([quality, metered.quality], np.uint32)
        return snapshot, worst(words), max(ticks, metered.newest)

    async def _compute(self, snapshot: Snapshot) -> Report:
        """Compute here when that is quick, else in the compute process.

        Raises:
            ComputeError: it took too long, or the process died.
            GridError: data of the grid make no sense.
        """
        started = time.perf_counter()
        try:
            if self._beside or self._model is None or self._loads is None:
                async with self._lock:
                    return await self._compute_beside(snapshot)
            found = compute_here(self._model, self._measurements, self._loads, snapshot)
            self._slow = self._slow + 1 if time.perf_counter() - started > _INLINE_S else 0
            self._beside = self._slow >= _SLOW
            return found
        finally:
            self.took = time.perf_counter() - started

    async def _compute_beside(self, snapshot: Snapshot) -> Report:
        limit = self._settings.limit
        try:
            grid = None if self._sent else self._pickled
            found: Report = await self._worker.run_within(limit, compute, self._key, grid, snapshot)
        except UnknownGridError:  # a new process, after the old one had died
            found = await self._worker.run_within(limit, compute, self._key, self._pickled, snapshot)
        except ComputeError:
            self._sent = False
            raise
        self._sent = True
        return found

    def _refuse(self) -> None:
        self._context.results.write({f"{self.owner}/PFConv": False, f"{self.owner}/SEObs": False})
        self._context.alarms.raise_(_NO_FLOW, self._context.place, f"no power flow: {self._refusal}", 500)

    # ---- telling --------------------------------------------------------------------------------------------------

    def _tell(self, found: Report) -> dict[str, int]:
        """Conditions of a report; the number of bad values by area."""
        alarms, delay, place = self._context.alarms, self._settings.alarm_delay, self._context.place
        alarms.set(not found.feasible, _NO_FLOW, place, f"no power flow: {found.reason}", 500, delay=delay)
        missing = [f"{node}: {why}" for node, observable, why in found.islands if not observable]
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        text = f"the state is not observable: {'; '.join(missing[:_NAMED]) or 'nothing is fed'}{more}"
        alarms.set(not found.observable, _NOT_SEEN, place, text, 200, delay=delay)
        counts: dict[str, int] = {}
        now = set()
        for points, measured, estimated, residual in found.bad:
            for point in points:
                now.add(point)
                alarms.raise_(
                    _BAD,
                    point,
                    f"the value contradicts the others: {measured:.6g} measured, {estimated:.6g} estimated, "
                    f"{residual:.1f} standard deviations",
                    400,
                    delay=delay,
                    value=measured,
                    details=(("estimated", f"{estimated:.6g}"), ("residual", f"{residual:.2f}")),
                )
                area = "/".join(point.split("/", 2)[:2])
                counts[area] = counts.get(area, 0) + 1
        for point in self._told - now:
            alarms.clear(_BAD, point, "the value agrees with the others")
        self._told = now
        return counts

    # ---- methods --------------------------------------------------------------------------------------------------

    def specs(self) -> Sequence[MethodSpec]:
        """`PowerFlow` and `Estimate`, on the `twTOPO1` object of the area."""
        return (
            MethodSpec(
                self.owner,
                "PowerFlow",
                (),
                _FLOW_OUTPUTS,
                Right.READ,
                "Power flow of the grid with the present positions and measured loads",
            ),
            MethodSpec(
                self.owner,
                "Estimate",
                (),
                _STATE_OUTPUTS,
                Right.READ,
                "State estimation from the present measurements: bad values, what is missing, flows and voltages",
            ),
        )

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Compute now."""
        if owner != self.owner or name not in ("PowerFlow", "Estimate"):
            return MethodResult(StatusCode.BadMethodInvalid, (), f"{owner} has no method {name}")
        outputs = _FLOW_OUTPUTS if name == "PowerFlow" else _STATE_OUTPUTS
        if self._model is None:
            return MethodResult(StatusCode.BadConfigurationError, _empty(outputs), self._refusal)
        try:
            snapshot, _, _ = await self._snapshot(estimate=name == "Estimate")
            found = await self._compute(snapshot)
        except (ComputeError, GridError) as error:
            return MethodResult(StatusCode.BadInvalidState, _empty(outputs), str(error))
        return MethodResult(StatusCode.Good, self._flow(found) if name == "PowerFlow" else self._state(found))

    def _flow(self, found: Report) -> tuple[Any, ...]:
        if not found.feasible:
            return (False, found.reason, found.engine, list(found.notes), *_empty(_FLOW_OUTPUTS[4:]))
        numbers, arrays = found.flow, self._arrays()
        loss, supplied = complex(numbers.loss.sum()), complex(numbers.delivered.sum())
        live = found.energised & np.isfinite(numbers.lowest)
        lowest = int(np.where(live, numbers.lowest, np.inf).argmin()) if live.any() else -1
        rated = np.isfinite(numbers.loading)
        highest = int(np.where(rated, numbers.loading, -np.inf).argmax()) if rated.any() else -1
        return (
            True,
            "",
            found.engine,
            list(found.notes),
            loss.real,
            loss.imag,
            supplied.real,
            supplied.imag,
            float(numbers.lowest[lowest]) if lowest >= 0 else math.nan,
            arrays.node[lowest] if lowest >= 0 else "",
            100 * float(numbers.loading[highest]) if highest >= 0 else math.nan,
            arrays.branches[highest].address if highest >= 0 else "",
            *self._table(numbers),
        )

    def _state(self, found: Report) -> tuple[Any, ...]:
        bad = [(point, m, e, r) for points, m, e, r in found.bad for point in points]
        return (
            found.observable,
            [node for node, _, _ in found.islands],
            [observable for _, observable, _ in found.islands],
            [why for _, _, why in found.islands],
            *(list(column) for column in (zip(*bad, strict=True) if bad else ((), (), (), ()))),
            list(found.unused),
            list(found.unused.values()),
            float(np.nansum(found.state.loss.real)) if found.state is not None else math.nan,
            *(self._table(found.state) if found.state is not None else _empty(_BRANCH_TABLE)),
        )

    def _arrays(self) -> GridArrays:
        if self._model is None:
            raise RuntimeError("no grid model")
        return self._model.arrays

    def _table(self, numbers: StateNumbers) -> tuple[list[Any], ...]:
        arrays = self._arrays()
        return (
            [item.address for item in arrays.branches],
            numbers.power.real.tolist(),
            numbers.power.imag.tolist(),
            numbers.current.tolist(),
            (100 * numbers.loading).tolist(),
            list(arrays.node),
            numbers.voltage.tolist(),
        )


def _empty(outputs: tuple[Argument, ...]) -> tuple[Any, ...]:
    """Outputs of nothing: empty lists, no number, no text."""
    nothing = {_BOOLEAN: False, _DOUBLE: math.nan, _STRING: ""}
    return tuple([] if output.is_list else nothing[output.type_id] for output in outputs)


def make_powerflow(context: TwinContext, settings: PowerFlowSettings, *, assume_normal: bool = False) -> PowerFlow:
    """The power flow function.

    Args:
        context: see `TwinContext`.
        settings: of the configuration.
        assume_normal: take switches without a position point in their normal position; else as unknown.
    """
    return PowerFlow(context, settings, assume_normal=assume_normal)
