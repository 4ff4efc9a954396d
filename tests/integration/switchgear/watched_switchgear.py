"""A bay with a breaker, its sensors and its health function, in virtual time."""

from __future__ import annotations

from pathlib import Path

from peers.twin.bench import Bench, points

from twin_gateway.functions.switchgear import SwitchgearCondition
from twin_gateway.functions.switchgear_settings import SwitchgearSettings
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Feeder,
    Grid,
    LineData,
    LoadData,
    SourceData,
    SwitchRating,
    TransformerData,
)
from twin_gateway.twin.switchgear.gas import SF6, pressure

BAY = "dso1/north/PS01/MV1/F01"
QA1 = f"{BAY}/QA1"
HEALTH = f"{QA1}/twHLTH1"
AREA = "dso1/north"
PLATES = """\
switchgear: 1
grid: dso1
place: north
equipment:
  PS01/MV1/F01/QA1:
    {medium: vacuum, rated_current: 630 A, breaking_current: 20 kA, operations: 10000, breaking_operations: 100,
     opening_time: 42 ms, closing_time: 58 ms, motor_time: 8 s, coil_current: 3.4 A,
     gas: sf6, fill: 140 kPa, alarm: 130 kPa, block: 120 kPa, ambient: PS01/MV1/F01/_/TTMP1/TmpSv}
"""
POINTS = (
    *(f"{QA1}/XCBR1/{name}" for name in ("Pos", "OpCnt", "Loc")),
    *(f"{QA1}/SCBR1/{name}" for name in ("AbrAlm", "AbrWrn", "SwA", "OpTmOpn", "OpTmCls", "ColA", "ColAlm", "OpTmAlm")),
    *(f"{QA1}/CSWI1/{name}" for name in ("Pos", "OpOpn", "OpCls")),
    *(f"{QA1}/SOPM1/{name}" for name in ("EnBlk", "MotAlm", "MotTm", "MotStrNum")),
    *(f"{QA1}/SIMG1/{name}" for name in ("InsAlm", "InsBlk", "Pres", "Tmp")),
    *(f"{QA1}/SPDC1/{name}" for name in ("PaDschAlm", "AcuPaDsch")),
    *(f"{BAY}/_/STMP{k}/Tmp" for k in (1, 2, 3)),
    *(f"{BAY}/_/MMXU1/A/phs{pole}" for pole in "ABC"),
    f"{BAY}/_/MMXU1/TotW",
    f"{BAY}/_/STMP1/Alm",
    f"{BAY}/_/SARC1/FADet",
    f"{BAY}/_/MENV1/SmokAlm",
    f"{BAY}/_/THUM1/HumSv",
    f"{BAY}/_/TTMP1/TmpSv",
    f"{BAY}/IED1/PTRC1/Tr",
    f"{BAY}/IED1/PTRC1/Tr/phsA",
    "dso1/north/RMU02/MV1/C33/QB1/XSWI1/Pos",
    "dso1/north/PS01/MV1/F02/QA1/XCBR1/Pos",
)
GOOD = {
    f"{QA1}/XCBR1/Pos": 2,
    f"{QA1}/XCBR1/OpCnt": 140,
    f"{QA1}/SIMG1/Pres": float(pressure(SF6, 8.53, 20.0)),
    f"{QA1}/SIMG1/Tmp": 20.0,
    f"{QA1}/SOPM1/EnBlk": 0,
    f"{QA1}/SOPM1/MotStrNum": 60,
    f"{QA1}/SCBR1/ColAlm": 0,
    f"{QA1}/SPDC1/AcuPaDsch": 10.0,
    **{f"{BAY}/_/STMP{k}/Tmp": 40.0 + k for k in (1, 2, 3)},
    **{f"{BAY}/_/MMXU1/A/phs{pole}": 300.0 for pole in "ABC"},
    f"{BAY}/_/TTMP1/TmpSv": 20.0,
    f"{BAY}/IED1/PTRC1/Tr": 0,
    f"{BAY}/IED1/PTRC1/Tr/phsA": 0,
    "dso1/north/RMU02/MV1/C33/QB1/XSWI1/Pos": 1,
    "dso1/north/PS01/MV1/F02/QA1/XCBR1/Pos": 2,
}


def small_grid() -> Grid:
    """Two feeders with a normally open tie between their ends, a transformer and customers on the first."""
    grid = Grid()
    names = ("PS01/MV1/_/CN1", "L01/MV1/_/CN1", "RMU02/MV1/_/CN1", "L33/MV1/_/CN1", "L02/MV1/_/CN1", "TS02/LV1/_/CN1")
    grid.add(ConnectivityNode(f"{AREA}/{name}", 400.0 if "LV1" in name else 12_660.0) for name in names)
    bus, line, rmu, tie, other, low = (f"{AREA}/{name}" for name in names)

    def switch(address: str, first: str, second: str, *, open_: bool = False) -> Equipment:
        cim_class = CimClass.BREAKER if "PS01" in address else CimClass.LOAD_BREAK_SWITCH
        kind = "XCBR1" if "PS01" in address else "XSWI1"
        rating = SwitchRating(normal_open=open_, i_max=400.0, position=f"{AREA}/{address}/{kind}/Pos")
        return Equipment(f"{AREA}/{address}", cim_class, (first, second), rating)

    grid.add(
        [
            Equipment(f"{AREA}/PS01/MV1/_/SRC1", CimClass.SOURCE, (bus,), SourceData()),
            switch("PS01/MV1/F01/QA1", bus, line),
            switch("PS01/MV1/F02/QA1", bus, other),
            Equipment(f"{AREA}/L01/MV1/_/WB1", CimClass.LINE, (line, rmu), LineData(0.1, 0.1, i_max=350.0)),
            Equipment(f"{AREA}/L02/MV1/_/WB1", CimClass.LINE, (other, tie), LineData(0.1, 0.1)),
            switch("RMU02/MV1/C33/QB1", rmu, tie, open_=True),
            Equipment(
                f"{AREA}/TS02/MV1/T01/TA1",
                CimClass.TRANSFORMER,
                (rmu, low),
                TransformerData(12_660.0, 400.0, 400e3, 0.04, 4_600.0),
            ),
            Equipment(f"{AREA}/TS02/LV1/_/LD1", CimClass.LOAD, (low,), LoadData(1e5, 0.0, customers=42)),
        ]
    )
    grid.feeders[BAY] = Feeder(BAY, QA1)
    grid.feeders[f"{AREA}/PS01/MV1/F02"] = Feeder(f"{AREA}/PS01/MV1/F02", f"{AREA}/PS01/MV1/F02/QA1")
    return grid


class Rig:
    """A bench with the condition of switchgear on it, driven by hand."""

    def __init__(self, folder: Path, plates: str = PLATES) -> None:
        path = folder / "plates.yaml"
        path.write_text(plates)
        self.bench = Bench(folder, points("ied", POINTS), small_grid())
        self.marked = ""
        self.function = SwitchgearCondition(
            self.bench.context,
            SwitchgearSettings(nameplates=path, settle=1.0, history_every=900.0, leak_every=3600.0),
            mark=lambda _place: self.marked,
            monotonic=lambda: self.bench.time,
            wall=lambda: self.bench.wall,
        )

    async def start(self, **more: float) -> None:
        self.bench.write(GOOD)
        await self.function.open()
        self.bench.journal.skip()
        await self.go()

    async def go(self, seconds: float = 0.0) -> None:
        for chunk in self.bench.journal.take():
            self.function.take(chunk)
        self.bench.advance(seconds)
        self.bench.alarms.tick()
        await self.function.tick()

    async def write(self, values: dict[str, float], seconds: float = 0.0, quality: int = 0) -> None:
        self.bench.write(values, quality)
        await self.go(seconds)

    async def operate(self, *, current: float | None = None, opening_time: float = 0.042, swa: bool = True) -> None:
        """Open and close again."""
        if current is not None:
            await self.write({f"{BAY}/_/MMXU1/A/phs{pole}": current for pole in "ABC"}, 0.1)
        opened: dict[str, float] = {f"{QA1}/XCBR1/Pos": 1, f"{QA1}/SCBR1/OpTmOpn": opening_time}
        if swa and current is not None:
            opened[f"{QA1}/SCBR1/SwA"] = current
        await self.write(opened, 1.5)
        await self.write({f"{QA1}/XCBR1/Pos": 2, f"{QA1}/SCBR1/OpTmCls": 0.058}, 1.5)

    def health(self, name: str) -> object:
        return self.bench.value(f"{HEALTH}/{name}")

    def codes(self) -> set[tuple[str, str]]:
        return {(code, address.removeprefix(f"{BAY}/")) for code, address in self.bench.codes()}
