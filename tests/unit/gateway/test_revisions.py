"""The store of revisions: the mapping files as they were when the gateway began to run with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from twin_gateway import revisions
from twin_gateway.control import ControlError
from twin_gateway.mapping.check import check
from twin_gateway.mapping.difference import difference
from twin_gateway.mapping.model import Mapping
from twin_gateway.revisions import FOLDER, KEPT, RevisionError, RevisionStore, RunningRevision, keep, over

STATION = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-1:
    protocol: iec104
    host: 10.0.0.1
    common_address: 7
    at: {MV1/F05: {WAS points: {MMXU1/TotW: {ioa: IOA, type: M_ME_TF_1, unit: kW}}}}
"""
IED = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  ied-f01:
    protocol: iec61850
    host: 10.0.0.1
    scl: scl/F01Q1.cid
    ied: F01Q1
    tls: {ca: ca.pem, certificate: own.pem, key: own.key}
    at: {MV1/F01: {points: {MMXU1/TotW: {ref: LD0/MMXU1.TotW}}}}
"""
DEMO = Path(__file__).parents[3] / "mappings"
TODAY = datetime(2026, 11, 23, 12, tzinfo=UTC)


def station(folder: Path, ioa: int = 1, was: str = "") -> Mapping:
    folder.mkdir(exist_ok=True)
    path = folder / "station.yaml"
    path.write_text(STATION.replace("IOA", str(ioa)).replace("WAS", was and f"was: {was},"), "utf-8")
    mapping, problems = check([path], environ={})
    assert mapping is not None, problems
    return mapping


def test_a_revision_is_the_files_as_they_were(tmp_path: Path) -> None:
    store = RevisionStore(tmp_path / "data")
    mapping = station(tmp_path / "files")
    revision = store.record(mapping, reason="start", now=TODAY)
    station(tmp_path / "files", ioa=2)
    kept, problems = store.check(revision, environ={})
    assert not problems
    assert kept is not None
    assert not difference(mapping, kept)
    assert (revision.time, revision.reason, revision.devices, revision.points) == (
        "2026-11-23T12:00:00+00:00",
        "start",
        1,
        1,
    )
    assert revision.user


def test_starting_again_with_the_same_files_makes_no_new_revision(tmp_path: Path) -> None:
    store = RevisionStore(tmp_path / "data")
    first = store.record(station(tmp_path / "files"), reason="start", now=TODAY)
    again = store.record(station(tmp_path / "files"), reason="start", now=TODAY + timedelta(days=1))
    assert again == first
    assert store.all() == [first]


def test_going_back_is_a_revision_of_its_own_with_the_same_hash(tmp_path: Path) -> None:
    store = RevisionStore(tmp_path / "data")
    first = store.record(station(tmp_path / "files", 1), reason="start")
    store.record(station(tmp_path / "files", 2), reason="apply", user="anna")
    third = store.record(station(tmp_path / "files", 1), reason="rollback", user="anna")
    assert [item.reason for item in store.all()] == ["start", "apply", "rollback"]
    assert third.hash == first.hash
    assert store.find(first.hash[:6]) == third


def test_only_the_last_revisions_are_kept_with_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEPT == 20
    monkeypatch.setattr(revisions, "KEPT", 3)
    store = RevisionStore(tmp_path / "data")
    for number in range(5):
        store.record(station(tmp_path / "files", 1 + number), reason="apply")
    kept = {item.hash for item in store.all()}
    assert len(kept) == 3
    assert {path.name for path in (tmp_path / "data" / FOLDER).iterdir() if path.is_dir()} == kept


def test_scl_files_are_kept_and_keys_are_not(tmp_path: Path) -> None:
    (tmp_path / "scl").mkdir()
    shutil.copy(DEMO / "demo" / "scl" / "F01Q1.cid", tmp_path / "scl")
    for name in ("ca.pem", "own.pem", "own.key"):
        (tmp_path / name).write_text("not looked into", "utf-8")
    path = tmp_path / "station.yaml"
    path.write_text(IED, "utf-8")
    mapping, problems = check([path], environ={})
    assert mapping is not None, problems
    store = RevisionStore(tmp_path / "data")
    revision = store.record(mapping, reason="start")
    copies = {copy.name for copy, _ in store.contents(revision)}
    assert copies == {"station.yaml", "F01Q1.cid"}
    kept, _ = store.check(revision)
    assert kept is not None
    assert not difference(mapping, kept)
    changed = tmp_path / "scl" / "F01Q1.cid"
    changed.write_text(changed.read_text("utf-8") + "<!-- another edition -->\n", "utf-8")
    now, _ = check([path], environ={})
    assert now is not None
    (device,) = difference(kept, now).devices
    assert [change.field for change in device.fields] == ["scl"]


def test_files_that_were_edited_after_the_check_are_not_kept_for_what_was_checked(tmp_path: Path) -> None:
    mapping = station(tmp_path / "files", 1)
    station(tmp_path / "files", 2)
    store = RevisionStore(tmp_path / "data")
    with pytest.raises(RevisionError, match="edited since it was checked"):
        store.record(mapping, reason="start")
    assert not store.all()
    assert not [path for path in (tmp_path / "data" / FOLDER).iterdir() if path.is_dir()]


def test_a_copy_that_was_edited_is_not_taken_for_what_was_kept(tmp_path: Path) -> None:
    store = RevisionStore(tmp_path / "data")
    revision = store.record(station(tmp_path / "files"), reason="start")
    copy = next(copy for copy, _ in store.contents(revision))
    copy.write_text(copy.read_text("utf-8").replace("kW", "MW"), "utf-8")
    with pytest.raises(RevisionError, match="not what was kept"):
        store.check(revision)


def test_an_index_that_cannot_be_read_is_named_and_not_overwritten(tmp_path: Path) -> None:
    store = RevisionStore(tmp_path / "data")
    store.record(station(tmp_path / "files"), reason="start")
    index = tmp_path / "data" / FOLDER / "index.json"
    for damaged in ("{", "[]", '{"revisions": [{"hash": 1}], "former": {}}', '{"revisions": [], "former": {"a": 7}}'):
        index.write_text(damaged, "utf-8")
        with pytest.raises(RevisionError, match=r"index\.json cannot be read"):
            store.record(station(tmp_path / "files", 2), reason="apply")
        assert index.read_text("utf-8") == damaged


def test_an_unknown_revision_is_answered_with_those_that_are_kept(tmp_path: Path) -> None:
    store = RevisionStore(tmp_path / "data")
    revision = store.record(station(tmp_path / "files"), reason="start")
    with pytest.raises(RevisionError, match=revision.hash):
        store.find("zz")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_git_revision_of_the_files_is_told_and_whether_they_differ(tmp_path: Path) -> None:
    mapping = station(tmp_path / "files")
    git = ["git", "-C", str(tmp_path / "files"), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "station"]):
        subprocess.run([*git, *command], check=True)
    store = RevisionStore(tmp_path / "data")
    clean = store.record(mapping, reason="start").git
    assert len(clean) == 40
    assert store.record(station(tmp_path / "files", 2), reason="apply").git == f"{clean}-dirty"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_looking_at_the_repository_writes_nothing_there(tmp_path: Path) -> None:
    station(tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "station"]):
        subprocess.run([*git, *command], check=True)
    os.utime(tmp_path / "station.yaml", (10**9, 10**9))  # git would note in its index that this is no change
    before = (tmp_path / ".git" / "index").read_bytes()
    assert len(revisions.git_revision([tmp_path / "station.yaml"])) == 40
    assert (tmp_path / ".git" / "index").read_bytes() == before


def test_a_former_address_leads_on_for_400_days_from_the_first_start_with_it(tmp_path: Path) -> None:
    store = RevisionStore(tmp_path / "data")
    mapping = station(tmp_path / "files", was="dso1/north/PS01/MV1/F04")
    store.record(mapping, reason="start", now=TODAY)
    store.record(mapping, reason="start", now=TODAY + timedelta(days=30))
    since = store.former_since()
    assert since == {"dso1/north/PS01/MV1/F04": date(2026, 11, 23)}
    day = TODAY.date()
    assert not over(mapping, since, day + timedelta(days=400))
    assert over(mapping, since, day + timedelta(days=401)) == ["dso1/north/PS01/MV1/F04"]


def test_a_former_address_whose_days_are_over_leads_nowhere_at_the_next_start(tmp_path: Path) -> None:
    store = RevisionStore(tmp_path / "data")
    mapping = station(tmp_path / "files", was="dso1/north/PS01/MV1/F04")
    store.record(mapping, reason="start", now=datetime.now(UTC) - timedelta(days=500))
    assert [point.aliases for _, point in mapping.points()] != [()]
    running = keep(tmp_path / "data", mapping)
    assert running.revision is not None
    assert [point.aliases for _, point in mapping.points()] == [()]
    assert not mapping.place_aliases


async def test_the_control_socket_tells_the_revision_or_why_there_is_none(tmp_path: Path) -> None:
    running = keep(tmp_path / "data", station(tmp_path / "files"))
    assert running.revision is not None
    told = await running.handlers["mapping"]({})
    assert told["hash"] == running.revision.hash
    json.dumps(told)
    nothing = RunningRevision(running.store, None, "no room")
    with pytest.raises(ControlError, match="no room"):
        await nothing.handlers["mapping"]({})


def test_a_gateway_whose_store_cannot_be_written_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FOLDER).write_text("a file in the way", "utf-8")
    running = keep(tmp_path / "data", station(tmp_path / "files"))
    assert running.revision is None
    assert running.fault
