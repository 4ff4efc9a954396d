"""The section `twin` of the configuration: which twin functions run on which grid model, and their settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from address_space.address import AddressError, parse
from twin_gateway.functions.flisr.settings import FlisrSettings
from twin_gateway.functions.injection import InjectionSettings
from twin_gateway.functions.intervals import IntervalSettings
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.functions.lv_topology_settings import LvTopologySettings
from twin_gateway.functions.powerflow_settings import PowerFlowSettings
from twin_gateway.functions.process_alarms import ProcessSettings
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.functions.switchgear_settings import SwitchgearSettings
from twin_gateway.functions.topology_settings import TopologySettings

_DEEPEST_PLACE = 2


class TwinSection(BaseModel):
    """The twin functions. Without a grid model only the devices and the switchgear are looked after.

    Attributes:
        place: area that the results stand for, as `dso1/north`.
        grid: files of the grid model: YAML (files or folders), or CIM RDF/XML (`.xml`).
        injection: only for a simulated field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    place: str
    grid: tuple[Path, ...] = ()
    topology: TopologySettings = TopologySettings()
    powerflow: PowerFlowSettings = PowerFlowSettings()
    flisr: FlisrSettings = FlisrSettings()
    intervals: IntervalSettings = IntervalSettings()
    losses: LossSettings = LossSettings()
    lv_topology: LvTopologySettings = LvTopologySettings()
    supervision: SupervisionSettings = SupervisionSettings()
    switchgear: SwitchgearSettings = SwitchgearSettings()
    process: ProcessSettings = ProcessSettings()
    injection: InjectionSettings = InjectionSettings()

    @field_validator("place")
    @classmethod
    def _place(cls, place: str) -> str:
        try:
            address = parse(place)
        except AddressError as error:
            raise ValueError(str(error)) from error
        if address.text.count("/") > _DEEPEST_PLACE:
            raise ValueError(f"{place} is no grid, area or site")
        return place

    def below(self, folder: Path) -> TwinSection:
        """The same with paths that are relative to a folder."""
        supervision = self.supervision.model_copy(
            update={"certificates": tuple(folder / path for path in self.supervision.certificates)}
        )
        plates = self.switchgear.nameplates
        switchgear = self.switchgear.model_copy(update={"nameplates": folder / plates if plates is not None else None})
        grid = tuple(folder / path for path in self.grid)
        return self.model_copy(update={"grid": grid, "supervision": supervision, "switchgear": switchgear})
