"""A plant with an IED, an RTU and some meters, and its supervision, in virtual time."""

from __future__ import annotations

from pathlib import Path

from peers.twin.bench import Bench, points
from peers.twin.supervised import Supervised

from address_space.point import Sample
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.twin.rules import DeviceState as S

BAY = "dso1/north/PS01/MV1/F01"
IED = f"{BAY}/IED1"
METERS = [f"dso1/north/SP{k:02}/LV1/_/M1" for k in range(1, 4)]
RTU_LINK, IED_LINK, METER_LINK = (f"dso1/_sys/gw1/_/_/{name}" for name in ("rtu", "ied", "meters"))
PLACE = "dso1/north/_/_/_/_/twSUPV1"
IED_POINTS = (
    *(f"{IED}/LPHD1/{name}" for name in ("PhyHealth", "NumPwrUp", "WacTrg", "OutOv", "PwrSupAlm", "Sim")),
    *(f"{IED}/LPHD1/PhyNam/{name}" for name in ("serNum", "swRev")),
    *(f"{IED}/LLN0/{name}" for name in ("Beh", "Health", "Loc", "NamPlt/configRev")),
    *(f"{IED}/LTMS1/{name}" for name in ("TmSyn", "TmSynLkd")),
    *(f"{IED}/LCCH1/{name}" for name in ("ChLiv", "RedChLiv")),
    *(f"{IED}/LGOS1/{name}" for name in ("St", "NdsCom", "ConfRevNum", "RxConfRevNum")),
    f"{IED}/GSAL1/AuthFail",
    f"{IED}/ZBAT1/BatLo",
    f"{IED}/PTOC1/Op",
    f"{BAY}/_/MMXU1/TotW",
    f"{BAY}/QA1/XCBR1/Pos",
)
RTU_POINTS = ("dso1/north/RMU02/MV1/C01/QB1/XSWI1/Pos", "dso1/north/RMU02/MV1/C01/_/MMXU1/TotW")
METER_POINTS = [f"{meter}/MMTR1/DmdWh" for meter in METERS] + [f"{meter}/MMXU1/TotW" for meter in METERS]
GOOD = {
    f"{IED}/LPHD1/PhyHealth": 1,
    f"{IED}/LPHD1/NumPwrUp": 4,
    f"{IED}/LPHD1/PhyNam/serNum": "77",
    f"{IED}/LPHD1/PhyNam/swRev": "1.2",
    f"{IED}/LLN0/Beh": 1,
    f"{IED}/LLN0/Health": 1,
    f"{IED}/LLN0/NamPlt/configRev": "A3",
    f"{IED}/LTMS1/TmSyn": 2,
    f"{IED}/LTMS1/TmSynLkd": 1,
    f"{IED}/LCCH1/ChLiv": 1,
    f"{IED}/LCCH1/RedChLiv": 1,
    f"{IED}/LGOS1/St": 1,
    f"{IED}/LGOS1/ConfRevNum": 5,
    f"{IED}/LGOS1/RxConfRevNum": 5,
    f"{IED}/GSAL1/AuthFail": 2,
    f"{IED}/LPHD1/WacTrg": 0,
    RTU_POINTS[0]: 2,
    **dict.fromkeys(METER_POINTS, 100),
}


class Rig(Supervised):
    """A bench with the supervision on it, driven by hand."""

    def __init__(self, folder: Path, settings: SupervisionSettings | None = None) -> None:
        mapped = points("ied", IED_POINTS) | points("rtu", RTU_POINTS) | points("meters", METER_POINTS)
        protocols = {"ied": "iec61850", "rtu": "iec104", "meters": "dlms"}
        super().__init__(Bench(folder, mapped), settings or SupervisionSettings(settle=1.0), protocols)

    async def start(self) -> None:
        await self.function._open()
        self.bench.write(GOOD)
        self.bench.advance(2.0)
        await self.go()

    async def go(self, seconds: float = 0.0) -> None:
        """The same, and keep what is to be kept."""
        await super().go(seconds)
        await self.function._keep()

    async def write(self, values: dict[str, object], seconds: float = 0.0, quality: int = 0) -> None:
        self.bench.write(values, quality)
        await self.go(seconds)

    def state(self, place: str) -> S:
        return self.function.index.devices[place].state.state


def sample(rig: Rig, address: str) -> Sample:
    return rig.bench.table.sample(rig.bench.table.find(address))
