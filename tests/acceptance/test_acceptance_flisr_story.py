"""One fault from injection to restored supply, watched from a node-opcua client in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from peers.feeder.flisr_field import FIELD, QUICK, cubicle, line
from peers.feeder.rig import AREA, HEAD
from peers.feeder.story import EVENT, RECLOSER, Seen, Story

OPEN, CLOSED = 1, 2


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    story = Story(tmp_path_factory.mktemp("story"), arguments=[*FIELD, "--dead-times", "3"], flisr=QUICK, before=2.0)
    try:
        story.start()
        story.inject("L12")
        story.reach("WAIT_CONFIRM")
        story.confirm()
        story.reach("RESTORED")
        story.settle()
        yield story
    finally:
        story.stop()


def times(seen: list[Seen], where: str, what: str) -> list[float]:
    return [each.at for each in seen if each.where == where and what in each.what]


def test_the_client_sees_trip_reclosing_lockout_location_plan_confirmation_each_switch_and_the_load_again(
    told: Story,
) -> None:
    seen = told.seen()
    course = [
        times(seen, "the client", "InjectFault"),
        times(seen, "PS01 F01 IED1", "protection trips"),
        times(seen, "PS01 F01 QA1", "closed"),
        times(seen, "PS01 F01 IED1", "locked out"),
        times(seen, "FLISR", "**LOCATED** L12/WB1"),
        times(seen, "FLISR", "**PLANNED**"),
        times(seen, "FLISR", "**WAIT_CONFIRM**"),
        times(seen, "the client", "Confirm"),
        times(seen, "RMU12 C12 QB1", "open"),
        times(seen, "RMU13 C12 QB1", "open"),
        times(seen, "PS01 F01 QA1", "closed")[-1:],
        times(seen, "RMU15 C34 QB1", "closed"),
        times(seen, "FLISR", "**RESTORED**"),
    ]
    assert all(course), told.text()
    firsts = [moments[0] for moments in course]
    assert firsts == sorted(firsts), told.text()
    assert times(seen, "RMU12 C12", "fault passage")
    assert not times(seen, "RMU13 C12", "fault passage")
    for unit in ("RMU07 T01", "RMU18 T01"):
        assert times(seen, unit, "without supply"), told.text()
        assert times(seen, unit, "kW again"), told.text()


def test_what_the_client_sees_in_the_end_is_the_restored_grid(told: Story) -> None:
    assert told.value(f"{HEAD}/QA1/XCBR1/Pos") == CLOSED
    assert [told.value(f"{switch}/XSWI1/Pos") for switch in (cubicle(12, 12), cubicle(13, 12))] == [OPEN, OPEN]
    assert told.value(f"{cubicle(15, 34)}/XSWI1/Pos") == CLOSED
    assert told.value(f"{AREA}/RMU18/MV1/T01/_/MMXU1/TotW") > 1000
    assert told.value(f"{EVENT}/CusOut") == 0
    assert line(12) in told.value(f"{EVENT}/FltSect")
    assert told.value(RECLOSER) is not None


def test_the_transcript_and_the_picture_say_the_same(told: Story, tmp_path) -> None:
    told.write("L12", tmp_path)
    text = (tmp_path / "fault-story.md").read_text("utf-8")
    assert text.count("\n| ") > 20
    assert "| RMU15 C34 QB1 | closed |" in text
    drawing = (tmp_path / "fault-story.svg").read_text("utf-8")
    assert drawing.count('class="fault') == 1
    assert drawing.count('class="open"') == 2
    assert drawing.count('class="back tie"') == 1
