"""Files resolved one by one, in any process, come to what they come to when they are gone through together."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from twin_gateway.drivers import registry
from twin_gateway.mapping import check as module
from twin_gateway.mapping import workers
from twin_gateway.mapping.check import check
from twin_gateway.mapping.many_files import _resolved, check_many
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.one_file import Around, UnforeseenError
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.seen import Seen
from twin_gateway.mapping.template import Templates
from twin_gateway.mapping.workers import Task, WorkerError, resolve_beside

GOLDEN = Path(__file__).parent / "golden"
ENVIRON = {"GOOD_KEY": "00" * 16, "SHORT_KEY": "0A", "M1_EK": "11" * 16}

TEMPLATES = """mapping: 1
templates:
  feeder:
    protocol: iec104
    params: {n: int, side: {type: text, default: A}}
    points:
      MMXU1/TotW: {ioa: "{n}", type: M_ME_TF_1, unit: kW, deadband: 2 kW}
      MMXU1/A/phsA: {ioa: "{n+1}", type: M_ME_TF_1, unit: A, alarm: {hi: 400 A}}
      QA1/XCBR1/Pos: {ioa: "{n+2}", type: M_DP_TB_1}
      QA1/CSWI1/Pos: {ioa: "{n+3}", type: M_DP_TB_1, control: {type: C_DC_NA_1, ioa: "{n+3}"}}
  long_feeder:
    protocol: iec104
    use: feeder
    with: {n: "{n}"}
    params: {n: int}
    points:
      MMXU1/A/phsA: {alarm: null, display_name: {en: Current A, de: Strom A}}
      MMXU1/Hz: {ioa: "{n+4}", type: M_ME_TF_1, unit: Hz}
"""
STATIONS = {
    "templates.yaml": TEMPLATES,
    "ps1.yaml": """mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-1:
    protocol: iec104
    host: 10.0.0.1
    common_address: 1
    at:
      MV1/F01: {use: feeder, with: {n: 100}, aliases: ["oid:1.2.3"]}
      MV1/F02:
        use: long_feeder
        with: {n: 200}
        points:
          MMXU1/TotW: {scale: 0.5}
          MMXU1/Hz: null
          MMXU9/TotVAr:
            - {ioa: 300, type: M_ME_TF_1, unit: kvar}
            - {device: rtu-2, ioa: 300, type: M_ME_TF_1, unit: kvar}
""",
    "ps2.yaml": """mapping: 1
grid: dso1
place: north/PS02
devices:
  rtu-2:
    protocol: iec104
    host: 10.0.0.2
    common_address: 2
    at:
      MV1/F{01..03}:
        was: dso1/north/PS02/MV1/G{01..03}
        points:
          MMXU1/A/{phsA,phsB}: {ioa: 1..2, type: M_ME_TF_1, unit: A, share: true}
      MV2/F01:
        points:
          MMXU1/Hz:
            - {ioa: 20, type: M_ME_TF_1, unit: Hz}
            - {ioa: 21, type: M_ME_TF_1, unit: Hz, role: backup}
          MMXU2/Hz: {ioa: 22, type: M_ME_TF_1, unit: Hz, was: {address: dso1/north/PS02/MV9/F01/_/MMXU2/Hz}}
          MMXU3/Hz: {ioa: 23, type: M_ME_TF_1, unit: Hz,
                     alarm: {target: dso1/north/PS02/MV2/F01/_/MMXU2/Hz, tolerance: 0.1 Hz}}
""",
    "ps3.yaml": """mapping: 1
grid: dso1
place: north/PS03
templates:
  own: {protocol: iec104, params: {n: int}, points: {MMXU1/TotW: {ioa: "{n}", type: M_ME_TF_1, unit: MW}}}
devices:
  rtu-3: {protocol: iec104, host: 10.0.0.3, common_address: 3, at: {MV1/F01: {use: own, with: {n: 7}}}}
retired:
  dso1/north/PS03/MV1/F09: {date: 2025-01-01, reason: gone, successor: dso1/north/PS03/MV1/F01}
""",
}


class Apart:
    """The check by single files; counts how often it had to be left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.left = 0
        self._no_folder = tmp_path / "no-folder"
        self._no_folder.write_text("", "utf-8")

        def counted(*arguments: Any, **named: Any) -> Any:
            try:
                return check_many(*arguments, **named)
            except UnforeseenError:
                self.left += 1
                raise

        monkeypatch.setattr(module, "check_many", counted)
        monkeypatch.setattr(module, "KEPT", 0)

    def __call__(self, paths: list[Path], **named: Any) -> tuple[Mapping | None, list[Problem]]:
        return check(paths, environ=ENVIRON, processes=1, cache=self._no_folder, **named)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Apart:
    monkeypatch.setattr(registry, "_plugins", dict)  # whatever else is installed beside the gateway
    return Apart(monkeypatch, tmp_path)


def contents(mapping: Mapping | None) -> Any:
    if mapping is None:
        return None
    devices = [
        (d.name, d.protocol, d.config, d.place, d.file, d.line, d.col, d.whole, d.files, d.points)
        for d in mapping.devices
    ]
    rest = mapping.place_aliases, mapping.former, mapping.retired, mapping.files, mapping.secrets_missing
    return devices, list(mapping.retired), list(mapping.files), rest


def assert_the_same(apart: Apart, paths: list[Path]) -> None:
    together, problems = check(paths, environ=ENVIRON, processes=1)
    alone, alone_problems = apart(paths)
    assert alone_problems == problems
    assert contents(alone) == contents(together)


def written(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def test_stations_with_common_templates_and_points_for_each_other_come_to_the_same(
    apart: Apart, tmp_path: Path
) -> None:
    folder = written(tmp_path / "m", STATIONS)
    assert_the_same(apart, [folder])
    mapping, problems = apart([folder])
    assert not problems
    assert mapping is not None
    assert [device.point_count for device in mapping.devices] == [9, 11, 1]
    assert apart.left == 0


def test_all_golden_mistakes_in_one_folder_give_the_same_lines(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    assert_the_same(apart, [Path()])
    assert apart.left == 0


def test_some_golden_mistakes_beside_each_other_give_the_same_lines(
    apart: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(GOLDEN)
    files = sorted(Path().glob("*.yaml"))
    chance = random.Random(7)
    for _ in range(20):
        assert_the_same(apart, chance.sample(files, chance.randint(2, 6)))


def mutated(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        what = chance.randrange(5)
        if what == 0:
            del lines[at]
        elif what == 1:
            lines.insert(at, lines[at])
        elif what == 2:
            place = chance.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + chance.choice(":{}[]0x-,'q ") + lines[at][place:]
        elif what == 3:
            lines[at] = lines[at].replace(chance.choice(["rtu-1", "rtu-2", "PS01", "feeder", "100", "iec104"]), "rtu-3")
        else:
            lines[at] = lines[at].replace(*chance.choice([("F01", "f01"), ("1", "2"), ("M_ME", "M_SP"), ("kW", "A")]))
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(4))
def test_edits_by_accident_give_the_same_lines(apart: Apart, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(12):
        files = dict(STATIONS)
        for name in chance.sample(sorted(files), chance.randint(1, 2)):
            files[name] = mutated(files[name], chance)
        assert_the_same(apart, [written(tmp_path / "m", files)])


def test_files_with_more_errors_than_are_told_give_the_same_lines(apart: Apart, tmp_path: Path) -> None:
    many = "".join(f"          MMXU{n}/TotW: {{ioa: x, type: M_ME_TF_1}}\n" for n in range(1, 1300))
    head = STATIONS["ps1.yaml"].split("      MV1/F01")[0].replace("rtu-1", "rtu-9")
    files = STATIONS | {"ps0.yaml": f"{head}      MV1/F01:\n        points:\n{many}"}
    assert_the_same(apart, [written(tmp_path / "m", files)])


def test_further_processes_come_to_the_same_and_are_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(registry, "_plugins", dict)
    monkeypatch.setattr(module, "WORTH", 0)
    monkeypatch.setattr("twin_gateway.mapping.many_files.WORTH", 0)
    monkeypatch.setattr("twin_gateway.mapping.many_files._SHARE", 1)
    folder = written(tmp_path / "m", STATIONS)
    started: list[subprocess.Popen[bytes]] = []
    start = workers._start

    def noted() -> subprocess.Popen[bytes]:
        started.append(start())
        return started[-1]

    monkeypatch.setattr(workers, "_start", noted)
    told: list[tuple[int, int]] = []
    beside = check([folder], environ=ENVIRON, processes=2, progress=lambda done, of: told.append((done, of)))
    together = check([folder], environ=ENVIRON, processes=1)
    assert contents(beside[0]) == contents(together[0])
    assert beside[1] == together[1] == []
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(started) == 2
    assert all(child.returncode is not None for child in started)


def test_a_process_that_dies_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "WORTH", 0)
    monkeypatch.setattr("twin_gateway.mapping.many_files.WORTH", 0)
    monkeypatch.setattr("twin_gateway.mapping.many_files._SHARE", 1)
    monkeypatch.setattr("twin_gateway.mapping.workers._PROGRAM", "raise SystemExit(3)")
    mapping, problems = check([written(tmp_path / "m", STATIONS)], environ=ENVIRON, processes=2)
    assert mapping is not None
    assert not problems
    assert "checked in one process" in caplog.text


@pytest.mark.parametrize(("points", "expected"), [(39_000, 0), (41_000, 4), (10**6, 6)])
def test_processes_are_started_for_many_points_and_as_many_as_these_are_worth(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, points: int, expected: int
) -> None:
    def beside(_around: bytes, _tasks: object, processes: int) -> list[tuple[int, None]]:
        return [(processes, None)]

    monkeypatch.setattr("twin_gateway.mapping.many_files.resolve_beside", beside)
    monkeypatch.setattr("twin_gateway.mapping.many_files.resolve_here", lambda *_: [(0, None)])
    seen = [Seen(Task(index, tmp_path, "a", None), points=points // 10) for index in range(10)]
    started = [count for count, _ in _resolved(seen, Around(Templates(), {}, {}, False), 6)]
    assert started == [expected]


@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.stdout.write('a plug-in says hello'); sys.stdout.flush(); sys.stdin.read()",
        "import os, pickle, signal, struct, sys; os.close(0); answer = pickle.dumps(None)\n"
        "sys.stdout.buffer.write(struct.pack('<Q', len(answer)) + answer); sys.stdout.flush(); signal.pause()",
        "import os, signal\n"
        "try: open({mark!r}, 'x'); os.kill(os.getpid(), signal.SIGSTOP)\n"
        "except FileExistsError: raise SystemExit(3)",
    ],
    ids=["says something else", "takes nothing more", "is stopped beside one that dies"],
)
def test_a_process_that_does_something_else_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    monkeypatch.setattr("twin_gateway.mapping.workers._PROGRAM", program.replace("{mark!r}", repr(str(tmp_path / "m"))))
    tasks = [Task(index, tmp_path, "a", None) for index in range(8)]
    with pytest.raises(WorkerError):
        list(resolve_beside(b"", tasks, 2))
