"""Which data of an IED are worth mapping: the members of its data sets, but not those of sampled values alone."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from twin_gateway.drivers.iec61850.scl_xml import Element
from twin_gateway.engineering.scl_file import SclFile
from twin_gateway.engineering.scl_parts import Ied, ln_name

_CONSTRAINTS: Final = {
    **dict.fromkeys(("MV", "SAV", "CMV", "APC", "BAC"), "MX"),
    **dict.fromkeys(("ORG", "ASG", "ING", "SPG", "VSG"), "SP"),
    **dict.fromkeys(("LPL", "DPL"), "DC"),
}
_ALIKE: Final = {"SG": "SP", "SE": "SP", "EX": "DC"}
_CONTROLS: Final = ("ReportControl", "GSEControl", "LogControl")

Path = tuple[str, ...]


class Wanted:
    """The members of the data sets of one IED."""

    def __init__(self, file: SclFile, ied: Ied) -> None:
        self.members: defaultdict[tuple[str, str], list[tuple[Path, str]]] = defaultdict(list)
        known = {(inst, ln_name(node)) for inst, node in ied.nodes()}
        for inst, node in ied.nodes():
            sets = {item.get("name"): item for item in node.all("DataSet")}
            for control in node.all(*_CONTROLS, "SampledValueControl"):
                name = control.get("datSet")
                if name and name not in sets:
                    what = f"{control.name} {control.get('name')}: no data set '{name}' in {ln_name(node)}"
                    file.warn(control, "TG732", what)
            sampled = {item.get("datSet") for item in node.all("SampledValueControl")}
            told = {item.get("datSet") for item in node.all(*_CONTROLS)}
            for name, item in sets.items():
                if name not in sampled or name in told:
                    self._take(file, inst, item, known)

    def _take(self, file: SclFile, inst: str, item: Element, known: set[tuple[str, str]]) -> None:
        for member in item.all("FCDA"):
            at = (member.get("ldInst") or inst, ln_name(member))
            if at not in known:
                file.warn(member, "TG732", f"data set {item.get('name')}: no logical node {'/'.join(at)}")
                continue
            path = tuple(part for name in ("doName", "daName") for part in member.get(name).split(".") if part)
            self.members[at].append((path, member.get("fc")))

    def __bool__(self) -> bool:
        return bool(self.members)

    def covers(self, inst: str, node: str, path: Path, cdc: str) -> bool:
        """Whether a data set holds the datum, something around it or something of it."""
        constraint = _CONSTRAINTS.get(cdc, "ST")
        return any(
            (not fc or _ALIKE.get(fc, fc) == constraint) and all(a == b for a, b in zip(member, path, strict=False))
            for member, fc in self.members.get((inst, node), ())
        )
