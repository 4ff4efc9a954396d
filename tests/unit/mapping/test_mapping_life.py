"""The life cycle of addresses in mapping files: moved ones lead on under `was:`, retired ones are not used again."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from typer.testing import CliRunner

from address_space import clock
from address_space.alias import AddressBook
from address_space.table import PointTable
from twin_gateway.cli import app
from twin_gateway.mapping.check import check
from twin_gateway.mapping.difference import difference
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.problem import Problem
from twin_gateway.tombstones import add_tombstones

HEAD = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-1:
    protocol: iec104
    host: 10.0.0.1
    common_address: 7
    at:
"""
BAY = """\
        points:
          MMXU1/TotW: {ioa: 1, type: M_ME_TF_1, unit: kW}
          QA1/XCBR1/Pos: {ioa: 2, type: M_DP_TB_1}
"""
PLACE = "dso1/north/PS01/MV1"


def read(folder: Path, body: str) -> tuple[Mapping | None, list[Problem]]:
    path = folder / "station.yaml"
    path.write_text(HEAD + body, "utf-8")
    return check([path], environ={})


def aliases(mapping: Mapping | None) -> dict[str, tuple[str, ...]]:
    assert mapping is not None
    return {point.address: point.aliases for _, point in mapping.points()}


def test_every_point_of_a_moved_place_leads_from_its_former_address(tmp_path: Path) -> None:
    mapping, problems = read(tmp_path, f"      MV1/F05:\n        was: {PLACE}/F04\n{BAY}")
    assert not problems
    assert aliases(mapping) == {
        f"{PLACE}/F05/_/MMXU1/TotW": (f"was:{PLACE}/F04/_/MMXU1/TotW",),
        f"{PLACE}/F05/QA1/XCBR1/Pos": (f"was:{PLACE}/F04/QA1/XCBR1/Pos",),
    }
    assert mapping is not None
    assert mapping.place_aliases == [(f"was:{PLACE}/F04", f"{PLACE}/F05")]


def test_until_when_a_former_address_leads_on_is_kept(tmp_path: Path) -> None:
    body = f"      MV1/F05:\n        was: {{address: {PLACE}/F04, until: 2999-12-31}}\n{BAY}"
    mapping, problems = read(tmp_path, body)
    assert not problems
    assert mapping is not None
    (former,) = mapping.former
    assert (former.was, former.address, former.until) == (f"{PLACE}/F04", f"{PLACE}/F05", date(2999, 12, 31))
    assert former.line == 11


def test_a_function_that_moved_takes_its_points_along_and_no_others(tmp_path: Path) -> None:
    body = f"      MV1/F05:\n        was: {{function: MMXU1, address: {PLACE}/F05/_/MMXU7}}\n{BAY}"
    mapping, problems = read(tmp_path, body)
    assert not problems
    assert aliases(mapping) == {
        f"{PLACE}/F05/_/MMXU1/TotW": (f"was:{PLACE}/F05/_/MMXU7/TotW",),
        f"{PLACE}/F05/QA1/XCBR1/Pos": (),
    }


def test_a_function_below_an_equipment_is_named_with_it(tmp_path: Path) -> None:
    body = f"      MV1/F05:\n        was: {{function: QA1/XCBR1, address: {PLACE}/F05/QA2/XCBR1}}\n{BAY}"
    mapping, _ = read(tmp_path, body)
    assert aliases(mapping)[f"{PLACE}/F05/QA1/XCBR1/Pos"] == (f"was:{PLACE}/F05/QA2/XCBR1/Pos",)


def test_a_point_that_stayed_behind_lends_its_address_to_nobody(tmp_path: Path) -> None:
    stayed = "      MV1/F04:\n        points:\n          MMXU1/TotW: {ioa: 9, type: M_ME_TF_1, unit: kW}\n"
    mapping, problems = read(tmp_path, f"{stayed}      MV1/F05:\n        was: {PLACE}/F04\n{BAY}")
    assert not problems
    assert aliases(mapping)[f"{PLACE}/F05/_/MMXU1/TotW"] == ()
    assert aliases(mapping)[f"{PLACE}/F05/QA1/XCBR1/Pos"] == (f"was:{PLACE}/F04/QA1/XCBR1/Pos",)


def test_braces_of_a_place_and_of_its_former_address_agree_one_by_one(tmp_path: Path) -> None:
    body = (
        f'      "MV1/F{{05,06}}":\n        was: "{PLACE}/F{{15,16}}"\n'
        "        points:\n          MMXU1/Hz: {ioa: 5, type: M_ME_TF_1, unit: Hz, share: true}\n"
    )
    mapping, problems = read(tmp_path, body)
    assert not problems
    assert aliases(mapping)[f"{PLACE}/F06/_/MMXU1/Hz"] == (f"was:{PLACE}/F16/_/MMXU1/Hz",)


def test_braces_of_points_spread_over_their_former_addresses(tmp_path: Path) -> None:
    line = f'"MMXU1/A/phs{{A,B}}": {{ioa: 5..6, type: M_ME_TF_1, unit: A, was: "{PLACE}/F05/_/MMXU2/A/phs{{A,B}}"}}'
    mapping, problems = read(tmp_path, f"      MV1/F05:\n        points:\n          {line}\n")
    assert not problems
    assert aliases(mapping)[f"{PLACE}/F05/_/MMXU1/A/phsB"] == (f"was:{PLACE}/F05/_/MMXU2/A/phsB",)


def test_a_move_that_the_file_tells_is_one_for_the_difference_too(tmp_path: Path) -> None:
    old, _ = read(tmp_path, f"      MV1/F04:\n{BAY}")
    new, _ = read(tmp_path, f"      MV1/F05:\n        was: {PLACE}/F04\n{BAY}")
    assert old is not None
    assert new is not None
    changes = list(difference(old, new).points())
    assert [change.moved_from for change in changes] == [
        f"{PLACE}/F04/_/MMXU1/TotW",
        f"{PLACE}/F04/QA1/XCBR1/Pos",
    ]
    assert not any(change.fields or change.guessed for change in changes)
    assert not difference(new, new)


def test_a_tombstone_keeps_day_reason_and_successor(tmp_path: Path) -> None:
    stone = "{date: 2026-03-01, reason: bay dismantled, successor: dso1/north/PS01/MV1/F05}"
    mapping, problems = read(tmp_path, f"      MV1/F05:\n{BAY}retired:\n  {PLACE}/F04: {stone}\n")
    assert not problems
    assert mapping is not None
    found = mapping.retired[f"{PLACE}/F04"]
    assert (found.date, found.reason, found.successor) == (date(2026, 3, 1), "bay dismantled", f"{PLACE}/F05")


def test_tombstones_may_fill_a_file_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "retired.yaml"
    path.write_text(f"mapping: 1\nretired:\n  {PLACE}/F04: {{date: 2026-03-01, reason: gone}}\n", "utf-8")
    _, problems = read(tmp_path, f"      MV1/F05:\n{BAY}")
    assert not problems
    mapping, problems = check([path, tmp_path / "station.yaml"], environ={})
    assert not problems
    assert mapping is not None
    assert list(mapping.retired) == [f"{PLACE}/F04"]


def test_a_device_cannot_say_where_it_was(tmp_path: Path) -> None:
    mapping, problems = read(tmp_path, f"      MV1/F05:\n{BAY}    was: {PLACE}/F04\n")
    assert mapping is None
    assert [problem.code for problem in problems] == ["TG201"]


def test_a_tombstone_and_a_former_address_may_not_lead_to_two_places(tmp_path: Path) -> None:
    stone = f"{{date: 2026-03-01, reason: moved, successor: {PLACE}/F09/_/MMXU1/TotW}}"
    body = f"      MV1/F05:\n        was: {PLACE}/F04\n{BAY}retired:\n  {PLACE}/F04/_/MMXU1/TotW: {stone}\n"
    mapping, problems = read(tmp_path, body)
    assert mapping is None
    assert [(problem.code, problem.line) for problem in problems] == [("TG512", 16)]


def test_the_address_book_knows_the_tombstones(tmp_path: Path) -> None:
    body = f"      MV1/F05:\n{BAY}retired:\n  {PLACE}/F04/QA1/XCBR1/Pos: {{date: 2026-03-01, reason: bay dismantled}}\n"
    mapping, _ = read(tmp_path, body)
    assert mapping is not None
    book = AddressBook(PointTable(), [], "https://example.org")
    add_tombstones(book, mapping)
    found = book.resolve(f"{PLACE}/F04/QA1/XCBR1/Pos").tombstone
    assert found is not None
    assert (clock.iso(found.retired_at)[:10], found.reason) == ("2026-03-01", "bay dismantled")


def test_resolve_says_of_a_retired_address_when_and_why(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("gateway: gw1\ngrid: dso1\nauthority: https://example.org\nmappings: [station.yaml]\n", "utf-8")
    address = f"{PLACE}/F04/QA1/XCBR1/Pos"
    read(tmp_path, f"      MV1/F05:\n{BAY}retired:\n  {address}: {{date: 2026-03-01, reason: bay dismantled}}\n")
    result = CliRunner().invoke(app, ["resolve", address, "--config", str(config)])
    assert result.exit_code == 1
    assert result.output == f"{address} was retired on 2026-03-01: bay dismantled\n"


def test_what_the_page_on_engineering_shows_passes_the_check(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "engineering.md").read_text("utf-8")
    moved, retired = (block.split("```")[0] for block in page.split("```yaml\n")[1:])
    path = tmp_path / "station.yaml"
    path.write_text(HEAD.removesuffix("    at:\n") + moved + retired, "utf-8")
    mapping, problems = check([path], environ={})
    assert not problems
    assert mapping is not None
    assert len(mapping.former) == 5
    assert len(mapping.retired) == 5
