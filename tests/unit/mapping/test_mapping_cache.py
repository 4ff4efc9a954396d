"""Results of unchanged files are kept: found again, never believed when damaged or foreign, and without any secret."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import address_space
import twin_gateway
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.tables import models
from twin_gateway.engineering.plan import as_document, make_plan
from twin_gateway.mapping import check as module
from twin_gateway.mapping.cache import program_digest, program_files
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.one_file import Resolver
from twin_gateway.mapping.problem import Problem

TEMPLATES = """mapping: 1
templates:
  feeder:
    protocol: iec104
    params: {n: int}
    points: {MMXU1/TotW: {ioa: "{n}", type: M_ME_TF_1, unit: kW}}
"""
STATION = """mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-1:
    protocol: iec104
    host: 10.0.0.1
    common_address: 1
    at:
      MV1/F01: {use: feeder, with: {n: 100}}
      MV1/F02: {was: dso1/north/PS01/MV1/F03, points: {MMXU1/Hz: {ioa: 7, type: M_ME_TF_1, unit: Hz}}}
"""
METER = """mapping: 1
grid: dso1
place: north/PS02
devices:
  meter-1:
    protocol: dlms
    host: 10.0.0.2
    security: lls
    password: ${METER_KEY}
    at: {LV1/_/M1: {points: {MMTR1/DmdWh: {obis: 1-0:1.8.0}}}}
"""
SCL = Path(__file__).parents[3] / "mappings" / "demo" / "scl" / "F07Q1.cid"
IED = """mapping: 1
grid: dso1
place: north/PS01
devices:
  ied-f07:
    protocol: iec61850
    host: 10.4.7.11
    scl: f07.cid
    at: {MV1/F07: {points: {QA1/XCBR1/Pos: {ref: LD0/XCBR1.Pos}}}}
"""
KEY = "5EC2E75EC2E75EC2E75EC2E75EC2E75E"


class Bench:
    """A folder of files, a cache, and which files were really resolved in the last check."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.cache = tmp_path / "m", tmp_path / "kept"
        self.folder.mkdir()
        self.resolved: list[str] = []
        real = Resolver.resolve

        def noted(resolver: Resolver, path: Path, *rest: Any) -> Any:
            self.resolved.append(path.name)
            return real(resolver, path, *rest)

        monkeypatch.setattr(Resolver, "resolve", noted)
        monkeypatch.setattr(module, "KEPT", 0)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / f"{name}.yaml").write_text(text, "utf-8")

    def check(self, folder: Path | None = None, **named: Any) -> tuple[Mapping | None, list[Problem]]:
        self.resolved.clear()
        return check([folder or self.folder], processes=1, cache=self.cache, **({"environ": {}} | named))

    def results(self) -> Iterator[Path]:
        return self.cache.glob("*.result")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def addresses(found: tuple[Mapping | None, list[Problem]]) -> list[tuple[str, str, Any, tuple[str, ...]]]:
    mapping, problems = found
    assert mapping is not None, problems
    return [(device.name, point.address, point.fields, point.aliases) for device, point in mapping.points()]


def test_unchanged_files_are_not_read_through_again(bench: Bench) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION)
    first = addresses(bench.check())
    assert bench.resolved == ["ps01.yaml", "templates.yaml"]
    assert addresses(bench.check()) == first
    assert bench.resolved == []
    assert len(first) == 2


def test_a_copy_of_a_folder_is_known_by_its_content(bench: Bench, tmp_path: Path) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION)
    bench.check()
    copy = Path(shutil.copytree(bench.folder, tmp_path / "copy"))
    mapping, _ = bench.check(copy)
    assert bench.resolved == []
    assert mapping is not None
    assert {point.file for _, point in mapping.points()} == {str(copy / "ps01.yaml")}


def test_only_what_has_changed_is_resolved(bench: Bench) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION, ps02=METER)
    bench.check(environ={"METER_KEY": KEY})
    bench.write(ps01=STATION.replace("n: 100", "n: 101"))
    found = addresses(bench.check(environ={"METER_KEY": KEY}))
    assert bench.resolved == ["ps01.yaml"]
    assert found[0][2]["ioa"] == 101


def test_another_template_is_another_result_for_those_that_may_use_it(bench: Bench) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION, ps02=METER)
    bench.check(environ={"METER_KEY": KEY})
    bench.write(templates=TEMPLATES.replace("{n}", "{n+1000}"))
    found = addresses(bench.check(environ={"METER_KEY": KEY}))
    assert "ps02.yaml" not in bench.resolved
    assert found[0][2]["ioa"] == 1100


def test_a_secret_is_looked_up_anew_and_never_kept(bench: Bench) -> None:
    bench.write(ps02=METER)
    bench.check(environ={"METER_KEY": KEY})
    kept = b"".join(path.read_bytes() for path in bench.results())
    assert kept
    assert KEY.encode() not in kept
    assert KEY.lower().encode() not in kept
    mapping, _ = bench.check(environ={"METER_KEY": "11" * 16})
    assert bench.resolved == []
    assert mapping is not None
    config = mapping.devices[0].config
    assert isinstance(config, DlmsConfig)
    assert config.password is not None
    assert config.password.get_secret_value() == "11" * 16
    mapping, problems = bench.check()
    assert mapping is None
    assert {(problem.code, problem.line) for problem in problems} == {("TG604", 9)}


def test_what_is_damaged_is_not_believed(bench: Bench) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION)
    first = addresses(bench.check())
    for path in bench.results():
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)
    assert addresses(bench.check()) == first
    assert bench.resolved == ["ps01.yaml", "templates.yaml"]
    for path in bench.results():
        path.write_bytes(path.read_bytes()[:50])
    assert addresses(bench.check()) == first
    assert bench.resolved == ["ps01.yaml", "templates.yaml"]


def test_a_folder_that_others_can_reach_into_is_not_used(bench: Bench) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION)
    bench.check()
    bench.cache.chmod(0o755)
    bench.check()
    assert bench.resolved == ["ps01.yaml", "templates.yaml"]


def test_a_result_that_others_can_write_or_that_is_a_link_is_not_used(bench: Bench, tmp_path: Path) -> None:
    bench.write(ps02=METER)
    bench.check(environ={"METER_KEY": KEY})
    (path,) = bench.results()
    path.chmod(0o666)
    bench.check(environ={"METER_KEY": KEY})
    assert bench.resolved == ["ps02.yaml"]
    (path,) = bench.results()
    away = tmp_path / "away"
    path.rename(away)
    path.symlink_to(away)
    bench.check(environ={"METER_KEY": KEY})
    assert bench.resolved == ["ps02.yaml"]


def test_only_our_own_user_reads_what_is_kept(bench: Bench) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION)
    before = os.umask(0)
    try:
        bench.check()
    finally:
        os.umask(before)
    assert bench.cache.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in bench.results()} == {0o600}


def test_files_with_mistakes_are_told_again_each_time(bench: Bench) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION.replace("unit: Hz", "unit: kW"))
    mapping, problems = bench.check()
    assert mapping is None
    assert bench.check() == (None, problems)
    assert bench.resolved == ["ps01.yaml"]


def test_a_former_address_with_a_last_day_is_worked_out_each_day(bench: Bench) -> None:
    moved = STATION.replace(
        "was: dso1/north/PS01/MV1/F03", "was: {address: dso1/north/PS01/MV1/F03, until: 2999-01-01}"
    )
    bench.write(templates=TEMPLATES, ps01=moved)
    bench.check()
    bench.check()
    assert bench.resolved == ["ps01.yaml"]


def test_what_came_of_a_file_without_its_template_is_no_answer_where_all_files_are_known(
    bench: Bench, tmp_path: Path
) -> None:
    bench.write(ps01=STATION)
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    _, problems = check([bench.folder, nothing], processes=1, cache=bench.cache, environ={})
    assert [problem.code for problem in problems] == ["TG101"]
    mapping, problems = bench.check()
    assert mapping is None
    assert [problem.code for problem in problems] == ["TG301"]


def test_a_template_that_is_used_by_an_escaped_word_counts(bench: Bench) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION.replace("use: feeder", '"\\x75se": feeder'))
    bench.check()
    bench.write(templates=TEMPLATES.replace("{n}", "{n+1000}"))
    assert addresses(bench.check())[0][2]["ioa"] == 1100


def test_more_warnings_than_are_told_are_counted_each_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for module_ in ("read", "check", "cache"):
        monkeypatch.setattr(f"twin_gateway.mapping.{module_}.MAX_PROBLEMS", 3)
    head, device = METER.split("  meter-1:")
    devices = [f"  meter-{n}:{device.replace('M1', f'M{n}').replace('_KEY', f'_{n}')}" for n in range(5)]
    bench.write(ps02=head + "".join(devices))
    told = check([bench.folder], processes=1, environ={}, secrets_required=False)[1]
    assert told[-1].message == "2 more warnings left out"
    for secrets in ({}, {f"METER_{n}": KEY for n in range(5)}, {}):
        found = bench.check(environ=secrets, secrets_required=False)[1]
        assert found == (told if not secrets else [])


def test_what_came_of_an_scl_file_that_was_edited_meanwhile_is_not_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = bench.folder / "f07.cid"
    copy.write_bytes(SCL.read_bytes())
    bench.write(f07=IED)
    bench.check()
    assert len(list(bench.results())) == 1
    bench.write(f07=IED + "# again\n")
    noted = Resolver.resolve

    def edited(resolver: Resolver, *arguments: Any) -> Any:
        result = noted(resolver, *arguments)
        copy.write_bytes(SCL.read_bytes() + b"<!-- edited -->")
        return result

    monkeypatch.setattr(Resolver, "resolve", edited)
    assert bench.check()[0] is not None
    assert len(list(bench.results())) == 1


def test_another_program_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.py"
    monkeypatch.setattr("twin_gateway.mapping.cache.program_files", lambda: [path])
    digests = []
    for text in ("A = 1", "A = 2", "A = 1"):
        path.write_text(text)
        os.utime(path, (1, 1))
        digests.append(program_digest.__wrapped__())
    assert digests[0] == digests[2] != digests[1]


def test_what_was_never_written_to_its_end_goes(bench: Bench) -> None:
    bench.write(ps02=METER)
    bench.check(environ={"METER_KEY": KEY})
    (kept,) = bench.results()
    old, fresh = bench.cache / f".{kept.name}.0123", bench.cache / f".{kept.name}.4567"
    for path in (old, fresh):
        path.write_bytes(b"TGRES")
    os.utime(old, (1, 1))
    bench.write(ps02=METER.replace("meter-1", "meter-2"))
    bench.check(environ={"METER_KEY": KEY})
    assert not old.exists()
    assert fresh.exists()
    assert len(list(bench.results())) == 2


def test_a_plan_looks_only_at_the_points_of_files_that_differ(bench: Bench, tmp_path: Path) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION, ps02=METER)
    copy = Path(shutil.copytree(bench.folder, tmp_path / "copy"))
    (copy / "ps01.yaml").write_text(STATION.replace("ioa: 7, ", "ioa: 8, "), "utf-8")
    secret = {"METER_KEY": KEY}
    old, new = bench.check(environ=secret)[0], bench.check(copy, environ=secret)[0]
    assert old is not None
    assert new is not None
    found = as_document(make_plan(old, new))
    assert found["summary"]["change"] == 1
    assert old.devices[1].packed is not None
    assert new.devices[1].packed is not None
    before, after = (check([folder], environ=secret, processes=1)[0] for folder in (bench.folder, copy))
    assert before is not None
    assert after is not None
    assert found == as_document(make_plan(before, after))


def test_least_recently_used_results_go_when_all_are_too_many(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(ps02=METER)
    bench.check(environ={"METER_KEY": KEY})
    (first,) = bench.results()
    os.utime(first, (1, 1))
    monkeypatch.setattr("twin_gateway.mapping.cache._MOST", first.stat().st_size + 10)
    bench.write(ps02=METER.replace("meter-1", "meter-2"))
    bench.check(environ={"METER_KEY": KEY})
    assert [path == first for path in bench.results()] == [False]


def test_everything_that_resolves_a_file_tells_one_program_from_another(bench: Bench) -> None:
    bench.write(templates=TEMPLATES, ps01=STATION, ps02=METER.replace("host:", f"model: {min(models())}\n    host:"))
    program = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda what, given: opened.append(str(given[0])) if what == 'open' else None)\n"
        "import twin_gateway.mapping.workers, twin_gateway.drivers.iec61850.scl\n"
        "from pathlib import Path\n"
        "from twin_gateway.drivers.registry import OWN_PROTOCOLS, protocol\n"
        "from twin_gateway.mapping.check import check\n"
        "for name in OWN_PROTOCOLS: protocol(name)\n"
        "check([Path(sys.argv[1])], environ={})\n"
        "ours = ('twin_gateway.', 'address_space.')\n"
        "print(*(m.__file__ for name, m in sys.modules.items() if name.startswith(ours)), *opened, sep='\\n')"
    )
    arguments = [sys.executable, "-c", program, str(bench.folder)]
    said = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    packages = [Path(package.__file__ or "").parent for package in (address_space, twin_gateway)]
    used = {path for path in map(Path, said.split("\n")) if not {*packages}.isdisjoint(path.parents)}
    assert {path for path in used if path.suffix != ".pyc"} <= set(program_files())
    assert {"models.yaml", "catalogue.txt"} <= {path.name for path in used}


def test_a_small_set_of_files_leaves_nothing_in_the_home_of_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "ps02.yaml").write_text(METER, "utf-8")
    assert module.run_check([tmp_path / "ps02.yaml"], environ={"METER_KEY": KEY}) == 0
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(module, "KEPT", 0)
    assert module.run_check([tmp_path / "ps02.yaml"], environ={"METER_KEY": KEY}) == 0
    assert len(list((tmp_path / "cache" / "twin-gateway" / "mappings").glob("*.result"))) == 1
    assert capsys.readouterr().out == "ok: 1 devices, 1 points\n" * 2
