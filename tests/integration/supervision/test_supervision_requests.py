"""What people ask of devices by the supervision's methods: files, lists, differences of the model, certificates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from peers.certificates import certificate
from peers.twin.bench import ENGINEER, Bench, Link

from address_space import clock
from address_space.ports import Outcome, Right
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceFile, DeviceLine, DeviceTable, ModelDifference
from twin_gateway.functions.supervision import Supervision
from twin_gateway.functions.supervision_settings import SupervisionSettings

PLACE = "dso1/north/_/_/_/_/twSUPV1"
IED = "dso1/north/PS01/MV1/F01/IED1"


class Asked(Link):
    """A link whose device has files and lists."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name, address)
        self.asked: list[tuple[str, ...]] = []

    async def list_files(self, path: str) -> tuple[Outcome, Sequence[DeviceFile]]:
        self.asked.append(("list", path))
        found = [DeviceFile("COMTRADE/rec1.dat", 3000, clock.from_iso("2026-01-02T03:04:05Z")), DeviceFile("odd")]
        return Outcome(StatusCode.Good, text="2 files", sent=True), found

    async def fetch_file(self, name: str) -> Outcome:
        self.asked.append(("fetch", name))
        return Outcome(StatusCode.BadNoMatch, text="there is no such file", sent=True)

    async def read_table(self, table: DeviceTable, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        self.asked.append(("table", table, about))
        return Outcome(StatusCode.Good, sent=True), [DeviceLine("LD0/LLN0.SGCB.ActSG", "2", "unsigned")]


class Rig:
    """A supervision with one link that can be asked, and one that cannot."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder, {f"{IED}/LPHD1/PhyHealth": "ied", f"{IED}/LLN0/Health": "rtu"})
        links = list(self.bench.links.values())
        self.ied = Asked("ied", next(link.address for link in links if link.name == "ied"))
        links = [self.ied if link.name == "ied" else link for link in links]
        self.function = Supervision(
            self.bench.context,
            SupervisionSettings(),
            links,
            {"ied": "iec61850", "rtu": "iec104"},
            monotonic=lambda: self.bench.time,
            wall=lambda: self.bench.wall,
        )

    async def call(self, name: str, *arguments: str) -> tuple[int, tuple[object, ...]]:
        result = await self.function.call(PLACE, name, arguments, ENGINEER)
        spec = next(spec for spec in self.function.specs() if spec.name == name)
        assert len(result.outputs) == len(spec.outputs), "as many values as the method says, also when it is refused"
        return result.status, result.outputs


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_files_of_a_device_are_listed_in_columns(rig: Rig) -> None:
    status, outputs = await rig.call("ListFiles", "ied", "COMTRADE")
    assert status == StatusCode.Good
    modified = ["2026-01-02T03:04:05Z", ""]
    assert outputs[:2] == (["COMTRADE/rec1.dat", "odd"], [3000, -1])
    assert [clock.from_iso(text) if text else 0 for text in outputs[2]] == [  # type: ignore[attr-defined]
        clock.from_iso(text) if text else 0 for text in modified
    ]
    assert rig.ied.asked == [("list", "COMTRADE")]


async def test_fetching_a_file_is_audited_with_its_outcome(rig: Rig) -> None:
    assert await rig.call("FetchFile", "ied", "none.dat") == (StatusCode.BadNoMatch, ("there is no such file",))
    kinds = [(record.kind, record.text, record.details) for record in rig.bench.audit.records]
    assert kinds == [
        ("link.fetch", "", {"file": "none.dat"}),
        ("link.outcome", "there is no such file", {"file": "none.dat"}),
    ]


async def test_list_of_a_device_is_read_by_its_name(rig: Rig) -> None:
    status, outputs = await rig.call("ReadDeviceTable", "ied", "setting groups", "")
    assert (status, outputs) == (StatusCode.Good, (["LD0/LLN0.SGCB.ActSG"], ["2"], ["unsigned"], ""))
    status, outputs = await rig.call("ReadDeviceTable", "ied", "nonsense", "")
    assert status == StatusCode.BadInvalidArgument
    assert "setting groups" in str(outputs[-1])


@pytest.mark.parametrize("method", ["ListFiles", "FetchFile", "ReadDeviceTable"])
async def test_what_cannot_be_asked_is_refused_before_the_device(rig: Rig, method: str) -> None:
    more = ("logs", "") if method == "ReadDeviceTable" else ("name",)
    assert (await rig.call(method, "none", *more))[0] == StatusCode.BadNoMatch
    assert (await rig.call(method, "rtu", *more))[0] == StatusCode.BadNotSupported
    assert (await rig.call(method, "ied", "line\nbreak", *more[1:]))[0] == StatusCode.BadInvalidArgument
    rig.bench.context.policy.denied.add(Right.OPERATE)  # type: ignore[attr-defined]
    assert (await rig.call(method, "ied", *more))[0] == StatusCode.BadUserAccessDenied
    assert rig.ied.asked == []


async def test_differences_of_the_model_stand_among_the_revisions(rig: Rig) -> None:
    rig.ied.driver = SimpleNamespace(differences=[ModelDifference("LD0/LLN0$DC$NamPlt$configRev", "A3", "A4")])
    status, outputs = await rig.call("ReadRevisionDiff", rig.ied.address)
    assert status == StatusCode.Good
    assert outputs == (["LD0/LLN0$DC$NamPlt$configRev"], ["A3"], ["A4"], [False])


async def test_certificate_of_a_link_that_expires_is_told_at_the_link(rig: Rig, tmp_path: Path) -> None:
    near, far = certificate(tmp_path, "near", days=10.0), certificate(tmp_path, "far", days=400.0)
    rig.bench.wall = near.certificate.not_valid_after_utc.timestamp() - 10 * 86_400
    rig.ied.certificates = (near.file, far.file)  # type: ignore[attr-defined]
    await rig.function.checks.certificates()
    assert rig.bench.codes() == {("D09", rig.ied.address)}
    assert "near.pem expires in 10 days" in rig.bench.told()[-1].text
    rig.ied.certificates = (far.file,)  # type: ignore[attr-defined]
    await rig.function.checks.certificates()
    assert not rig.bench.codes()
