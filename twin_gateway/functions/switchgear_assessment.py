"""From the values of one switchgear to its results and conditions; everything here is quick and synchronous."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from address_space import clock
from address_space.quality import Quality, worst
from address_space.table import PointTable
from twin_gateway.functions.results import Value
from twin_gateway.functions.rule_watch import UNUSABLE
from twin_gateway.functions.switchgear_equipment import Switchgear
from twin_gateway.twin.switchgear import coil, discharge, drive, gas, health, mechanism, thermal, usage
from twin_gateway.twin.switchgear.wear import ALARM_PERCENT, WARN_PERCENT, stage

RESULTS = (
    *("HealthIdx", "HealthCls", "ConditionCls", "Conf", "WorstPart", "Advice", "Blk"),
    *("Wear", "WearA", "WearB", "WearC", "SumA2s", "Mech", "Drive", "Coil", "Gas", "PaDsch", "Therm", "Age"),
    *("RemOps", "RemLifePct", "DaysToAlm", "OpnDevPct", "ClsDevPct", "Den", "PresN", "LeakPctYr", "Cond"),
    *("TmpExc", "OpCntMnt", "IdlTmh"),
)
INDEX_RESULTS = frozenset({"HealthIdx", "HealthCls", "ConditionCls", "Advice"})
_KINDS = (("opening", "OpnDevPct"), ("closing", "ClsDevPct"))
_HIGH, _LOW = ("", "High", "HighHigh"), ("", "Low", "LowLow")
"""Limits by stage."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: at which result, how bad, what to say. A severity of 0 clears it."""

    code: str
    result: str
    severity: int = 0
    text: str = ""
    value: float | None = None
    limit: str = ""


@dataclass(slots=True)
class Assessment:
    """What came out.

    Attributes:
        values: result -> value.
        conditions: every condition that this function is responsible for, also those that do not hold.
        quality: worst of the inputs.
        source_time: newest of the inputs, FILETIME ticks; 0 without any.
        health: see `Health`.
    """

    values: dict[str, Value] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)
    quality: int = 0
    source_time: int = 0
    health: health.Health = field(default_factory=lambda: health.assess({}))


class Assessor:
    """Assesses one equipment after the other.

    Args:
        table: where the values are.
        blocked: whether a block or trip contact of a place is closed.
        told: worst severity that the devices' own verdicts hold of a code at a place; 0 for none.
        joint_confirm: s after which a temperature that has jumped and stayed counts.
    """

    def __init__(
        self,
        table: PointTable,
        blocked: Callable[[Switchgear], bool],
        told: Callable[[Switchgear, str], int],
        *,
        joint_confirm: float = thermal.CONFIRM_S,
    ) -> None:
        self._table, self._blocked, self._told = table, blocked, told
        self._joint_confirm = joint_confirm

    def assess(self, one: Switchgear, now: float) -> Assessment:
        """Assess one at a time in s since 1970."""
        out = Assessment()
        scores: dict[str, float | None] = {
            "wear": self._wear(one, out),
            "mechanism": self._mechanism(one, out),
            "drive": self._drive(one, out, now),
            "coil": self._coil(one, out),
            "gas": self._gas(one, out, now),
            "discharge": self._discharge(one, out),
            "thermal": self._thermal(one, out, now),
            "age": self._age(one, out, now),
        }
        weights = {part: weight for part, weight in health.WEIGHTS.items() if self._has(one, part)}
        found = health.assess(scores, blocked=self._blocked(one), weights=weights)
        out.health = found
        severity = {health.Condition.POOR: 400, health.Condition.CRITICAL: 650, health.Condition.BLOCKED: 650}
        text = f"Health is {found.condition.name.lower()}" + (f": {found.worst_part}" if found.worst_part else "")
        out.conditions.append(
            Condition("C09", "ConditionCls", severity.get(found.condition, 0), f"{text}; {found.advice}", found.index)
        )
        parts = {"mechanism": "Mech", "drive": "Drive", "coil": "Coil", "gas": "Gas", "discharge": "PaDsch"}
        parts |= {"thermal": "Therm", "age": "Age"}
        out.values |= {
            "HealthIdx": found.index,
            "HealthCls": found.kind,
            "ConditionCls": int(found.condition),
            "Conf": round(found.confidence, 3),
            "WorstPart": found.worst_part,
            "Advice": found.advice,
            "Blk": self._blocked(one),
            **{name: scores[part] for part, name in parts.items()},
        }
        rows = np.array([*one.rows.values(), *one.joints.values()], np.int64)
        words = self._table.quality[rows] if len(rows) else np.empty(0, np.uint32)
        used = (words & np.uint32(Quality.NOT_INITIALISED | Quality.INVALID)) == 0
        if used.any():
            out.quality = worst(words[used])
            out.source_time = int(self._table.source_time[rows[used]].max())
        return out

    # ---- reading --------------------------------------------------------------------------------------------------

    def _number(self, one: Switchgear, *roles: str) -> float | None:
        row = one.row(*roles)
        return None if row < 0 else self._value(row)

    def _value(self, row: int) -> float | None:
        if int(self._table.quality[row]) & UNUSABLE & ~int(Quality.COMM_LOST):
            return None
        value = self._table.value(row)
        return None if value is None or isinstance(value, str) else float(value)

    def _has(self, one: Switchgear, part: str) -> bool:
        """Whether the equipment has a part at all, or a sensor for it."""
        match part:
            case "drive":
                return one.row("SOPM/MotTm", "SOPM/EnBlk", "SOPM/MotAlm", "SOPM/MotStrNum") >= 0
            case "coil":
                return one.row("SCBR/ColA", "SCBR/ColAlm", "SSWI/ColA", "SSWI/ColAlm") >= 0
            case "gas":
                return one.nameplate.gas is not None or one.row("SIMG/Pres", "SIMG/Den", "SIMG/InsAlm") >= 0
            case "discharge":
                return one.row("SPDC/UhfPaDsch", "SPDC/AcuPaDsch", "SPDC/AppPaDsch", "SPDC/PaDschAlm") >= 0
            case "thermal":
                return bool(one.joints)
        return True

    def _capped(self, one: Switchgear, value: float | None, code: str) -> float | None:
        """A sub-score no better than what the device itself says of the part."""
        told = self._told(one, code)
        if not told:
            return value
        cap = health.score_of_stage(1 if told <= 500 else 2)
        return cap if value is None else min(value, cap)

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _wear(self, one: Switchgear, out: Assessment) -> float | None:
        data, own = one.nameplate.wear, one.wear
        worn = own.worst if data is not None else self._number(one, "SCBR/AccmAbr", "SSWI/AccmAbr")
        out.values |= {f"Wear{pole}": value if data is not None else None for pole, value in own.percent.items()}
        out.values |= {"Wear": worn, "SumA2s": max(own.a2s.values()) if own.openings else None}
        mean = one.marks.get("mean_interrupted")
        out.values["RemOps"] = None
        if data is not None and worn is not None:
            out.values["RemOps"] = data.remaining(worn, data.rated_current if mean is None else mean)
        level = 0 if worn is None else stage(worn)
        out.conditions.append(
            Condition("C01", "Wear", (0, 500, 700)[level], f"Contact wear is {worn or 0.0:.1f} %", worn, _HIGH[level])
        )
        return self._capped(one, None if worn is None else health.score(worn, WARN_PERCENT, ALARM_PERCENT), "C01")

    def _mechanism(self, one: Switchgear, out: Assessment) -> float | None:
        worst_level, scores, texts = 0, [], []
        for kind, result in _KINDS:
            verdict, unsure = self._times(one, kind)
            out.values[result] = None if verdict is None else round(100.0 * (verdict.deviation or 0.0), 2)
            if verdict is None:
                continue
            off = abs(verdict.deviation or 0.0)
            scores.append(health.score(off, mechanism.WARN, mechanism.ALARM) if verdict.stage or not unsure else 100.0)
            if verdict.stage:
                worst_level = max(worst_level, verdict.stage)
                texts.append(f"{kind} time {100.0 * (verdict.deviation or 0.0):+.0f} % off its baseline")
        text = "; ".join(texts).capitalize()
        out.conditions.append(Condition("C02", "Mech", (0, 500, 700)[worst_level], text))
        return self._capped(one, min(scores) if scores else None, "C02")

    def _times(self, one: Switchgear, kind: str) -> tuple[mechanism.Verdict | None, bool]:
        """Verdict on the device's own times, else on timed ones; never mixed."""
        factory = one.nameplate.opening_time if kind == "opening" else one.nameplate.closing_time
        device = self._number(one, f"SCBR/OpTm{'Opn' if kind == 'opening' else 'Cls'}Set")
        for name, unsure in ((kind, 0.0), (f"{kind}_timed", mechanism.TIMED_UNCERTAINTY_S)):
            times = one.values(name)
            base = one.marks.get(f"baseline_{name}") or mechanism.baseline(times, None if unsure else factory or device)
            if times and base:
                return mechanism.judge(times, base, uncertainty=unsure), bool(unsure)
        return None, False

    def _drive(self, one: Switchgear, out: Assessment, now: float) -> float | None:
        scores, texts, level = [], [], 0
        times = one.values("motor")
        base = one.marks.get("baseline_motor") or mechanism.baseline(times, one.nameplate.motor_time)
        if times and base:
            level = drive.motor_stage(times[-1], base)
            scores.append(health.score(times[-1] / base, drive.WARN_RATIO, drive.ALARM_RATIO, good=1.0))
            if level:
                texts.append(f"motor ran {times[-1]:.1f} s, {times[-1] / base:.1f} times the usual")
        starts = one.history.get("motor_starts", ())
        recent = sum(int(entry.value) for entry in starts if now - drive.DAY_S < entry.time <= now)
        if drive.too_many_starts(recent):
            level = max(level, 1)
            scores.append(health.score_of_stage(1))
            texts.append(f"motor started {recent} times in a day")
        out.conditions.append(Condition("C03", "Drive", (0, 400, 600)[level], "; ".join(texts).capitalize()))
        if not scores and one.row("SOPM/EnBlk", "SOPM/MotAlm") >= 0:
            known = self._number(one, "SOPM/EnBlk", "SOPM/MotAlm")
            scores = [] if known is None else [100.0]
        return self._capped(one, min(scores) if scores else None, "C03")

    def _coil(self, one: Switchgear, out: Assessment) -> float | None:
        peaks = one.values("coil")
        base = one.marks.get("baseline_coil") or mechanism.baseline(peaks, one.nameplate.coil_current)
        level, value = 0, None
        if peaks and base:
            found, normal = coil.CoilSignature(peaks[-1], 0.0), coil.CoilSignature(base, 0.0)
            level = coil.coil_stage(found, normal)
            value = health.score(abs(peaks[-1] - base) / base, coil.WARN, coil.ALARM)
            text = f"Coil current {peaks[-1]:.2f} A, {100.0 * (peaks[-1] - base) / base:+.0f} % off its baseline"
            out.conditions.append(Condition("C08", "Coil", (0, 500, 800)[level], text))
        elif self._number(one, "SCBR/ColAlm", "SSWI/ColAlm") is not None:
            value = 100.0
        return self._capped(one, value, "C08")

    def _gas(self, one: Switchgear, out: Assessment, now: float) -> float | None:
        data = one.nameplate.gas
        kind = data.gas if data is not None else gas.SF6
        p20, rho, celsius = self._gas_state(one)
        limits = data.limits if data is not None else None
        known = one.marks.get("density") or (float(gas.density(kind, limits.fill, 20.0)) if limits else rho)
        condensed = known is not None and celsius is not None and gas.condensing(kind, known, celsius)
        if condensed:
            p20 = rho = None
        elif rho is not None:
            one.marks["density"] = rho
        out.values |= {"PresN": p20, "Den": rho, "Cond": None if celsius is None else condensed}
        leak = one.leak
        out.values["LeakPctYr"] = None if leak is None else round(leak.percent_per_year, 3)
        days = leak.days_to_alarm if leak is not None else None
        out.values["DaysToAlm"] = None if days is None else round(days, 1)
        text = f"Gas condenses at {celsius or 0.0:.1f} degC: the density cannot be told"
        out.conditions.append(Condition("C04", "Cond", 400 if condensed else 0, text, celsius))
        losing = leak is not None and leak.alarming
        text = f"Gas is lost: {leak.percent_per_year if leak else 0.0:.1f} % a year"
        text += f", alarm in {days:.0f} days" if days is not None else ""
        out.conditions.append(Condition("C04", "LeakPctYr", 450 if losing else 0, text, limit=_HIGH[losing]))
        if condensed:
            return self._capped(one, None, "C04")  # the stages stay as they are
        value: float | None = None
        if p20 is not None and limits is not None:
            level = gas.stage(p20, limits)
            name = ("", "below the first stage", "below the second stage: blocked")[level]
            text = f"Gas pressure {p20 / 1000.0:.1f} kPa at 20 degC, {name}"
            out.conditions.append(Condition("C04", "Gas", (0, 650, 900)[level], text, p20, _LOW[level]))
            value = health.score(p20, limits.alarm, limits.block, good=limits.fill)
        elif self._number(one, "SIMG/InsAlm") is not None:
            value = 100.0
        if losing and value is not None:
            value = min(value, health.score_of_stage(1))
        return self._capped(one, value, "C04")

    def _gas_state(self, one: Switchgear) -> tuple[float | None, float | None, float | None]:
        """(absolute pressure at 20 degC, density, temperature) as far as they are known."""
        data = one.nameplate.gas
        kind = data.gas if data is not None else gas.SF6
        celsius = self._number(one, "SIMG/Tmp")
        measured = self._number(one, "SIMG/Pres")
        if measured is not None and celsius is not None:
            full = gas.absolute(measured, altitude=data.altitude) if data is not None and data.gauge else measured
            rho = float(gas.density(kind, full, celsius))
            if np.isfinite(rho):
                return float(gas.pressure(kind, rho, 20.0)), rho, celsius
            return None, None, celsius
        rho_given = self._number(one, "SIMG/Den")
        if rho_given is not None:
            return float(gas.pressure(kind, rho_given, 20.0)), rho_given, celsius
        return None, None, celsius

    def sample_gas(self, one: Switchgear) -> tuple[float, float] | None:
        """(pressure at 20 degC, temperature) for the history; None when there is none, or it condenses."""
        p20, _rho, celsius = self._gas_state(one)
        if p20 is None or celsius is None:
            return None
        data = one.nameplate.gas
        known = one.marks.get("density")
        if known is not None and gas.condensing(data.gas if data is not None else gas.SF6, known, celsius):
            return None
        return p20, celsius

    def sample_discharge(self, one: Switchgear) -> float | None:
        """Level of partial discharge as a linear figure, for the history."""
        level = self._number(one, "SPDC/UhfPaDsch", "SPDC/AcuPaDsch")
        if level is not None:
            return float(discharge.linear(np.array([level]))[0])
        return self._number(one, "SPDC/AppPaDsch")

    def _discharge(self, one: Switchgear, out: Assessment) -> float | None:
        entries = one.history.get("discharge")
        value: float | None = None
        if entries:
            times = np.array([entry.time for entry in entries])
            days, daily = discharge.daily_95(times, np.array([entry.value for entry in entries]))
            limit = one.nameplate.discharge_limit
            if limit is not None and one.row("SPDC/UhfPaDsch", "SPDC/AcuPaDsch") >= 0:
                limit = float(discharge.linear(np.array([limit]))[0])
            verdict = discharge.judge(days, daily, limit)
            text = f"Partial discharge {verdict.ratio or 0.0:.1f} times the month before"
            if verdict.over_limit_days >= discharge.LIMIT_DAYS:
                text = f"Partial discharge above its limit for {verdict.over_limit_days} days"
            out.conditions.append(Condition("C05", "PaDsch", 600 if verdict.warn else 0, text))
            if verdict.ratio is not None:
                value = health.score(verdict.ratio, discharge.FACTOR, 2 * discharge.FACTOR, good=1.0)
            if verdict.over_limit_days >= discharge.LIMIT_DAYS:
                value = min(value or 100.0, health.score_of_stage(1))
        if value is None and self._number(one, "SPDC/PaDschAlm") is not None:
            value = 100.0
        return self._capped(one, value, "C05")

    def _thermal(self, one: Switchgear, out: Assessment, now: float) -> float | None:
        celsius = {
            name: one.warmth.setdefault(name, thermal.JointFollower(self._joint_confirm)).take(value, now)
            for name, row in one.joints.items()
            if (value := self._value(row)) is not None
        }
        # What is in doubt is looked at again soon.
        one.dirty |= any(follower.doubted for follower in one.warmth.values())
        plate = one.nameplate
        verdict = thermal.judge(celsius, warn=plate.temperature_warn, alarm=plate.temperature_alarm)
        out.values["TmpExc"] = None
        if verdict is None:
            return self._capped(one, None, "C06")
        around = self._table.find(plate.ambient) if plate.ambient else -1
        ambient = self._value(around) if around >= 0 else None
        flowing = [self._number(one, f"MMXU/A/phs{pole}") for pole in "ABC"]
        current = max((value for value in flowing if value is not None), default=None)
        if ambient is not None and current is not None and plate.rated_current:
            excess = thermal.normalised_excess(verdict.hottest, ambient, current, plate.rated_current)
            out.values["TmpExc"] = None if excess is None else round(excess, 2)
        text = f"Joint at {verdict.hottest:.1f} degC"
        if verdict.reason == "phases":
            text = f"Phases of a joint {verdict.spread:.1f} K apart"
        stage = verdict.stage
        out.conditions.append(Condition("C06", "Therm", (0, 650, 850)[stage], text, verdict.hottest, _HIGH[stage]))
        value = health.score(verdict.hottest, plate.temperature_warn, plate.temperature_alarm, good=60.0)
        if verdict.spread is not None:
            value = min(value, health.score(verdict.spread, thermal.PHASE_WARN_K, thermal.PHASE_ALARM_K))
        return self._capped(one, value, "C06")

    def _age(self, one: Switchgear, out: Assessment, now: float) -> float | None:
        plate = one.nameplate
        counted = self._number(one, "XCBR/OpCnt", "XSWI/OpCnt")
        out.values |= {"OpCntMnt": None, "IdlTmh": None, "RemLifePct": None}
        scores = []
        life = [100.0 - one.wear.worst] if plate.wear is not None else []
        if counted is not None:
            at = int(one.marks.get("operations_at_maintenance", plate.operations_at_maintenance))
            out.values["OpCntMnt"] = usage.since_maintenance(int(counted), at)
            if plate.operations:
                life.append(100.0 * (1.0 - counted / plate.operations))
                scores.append(health.score(counted / plate.operations, 0.8, 1.0, good=0.5))
        if life:
            out.values["RemLifePct"] = round(max(0.0, min(life)), 2)
        last = one.marks.get("last_operation")
        row = one.row("XCBR/Pos", "XSWI/Pos")
        if last is None and row >= 0 and self._value(row) is not None:
            # The source time of a position is that of the last movement.
            last = clock.to_unix(int(self._table.source_time[row]))
        if last is not None:
            hours = usage.idle_hours(last, now)
            out.values["IdlTmh"] = int(hours)
            scores.append(health.score_of_stage(1) if usage.needs_exercise(hours) else 100.0)
        return min(scores) if scores else None
