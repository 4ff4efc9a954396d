"""The sign-off of a place: what it signs, and what stands in its protocol."""

from __future__ import annotations

from dataclasses import replace

from address_space.ports import Caller
from twin_gateway.commissioning.binding import Binding
from twin_gateway.commissioning.place import PlacePoint
from twin_gateway.commissioning.record import Approval, CommandTest, Known, Record, Result, State, Trial, standing_of
from twin_gateway.commissioning.signing import Draft, SignedOff, SignOff
from twin_gateway.mapping.model import Mapping

PLACE = "dso1/north/PS01/MV1/F05"
TIME = "2026-11-23T10:00:00.000Z"
VALUE = Binding("104:rtu/7/1000", "v1")
ONLY_COMMANDED = Binding("", "", "104:rtu/7/5000", "c1")


def record(number: int, address: str, binding: Binding = VALUE, *, good: bool = True) -> Record:
    return Record(
        number, address, Result.CONFIRMED, False, "ines", ("Installer",), TIME, "", {"good": good}, binding, "r"
    )


def of_command(address: str) -> Known:
    """A data object that no device gives a value of; its command is tested and approved."""
    test = CommandTest(address, "c1", Trial.SELECTED, "1", "", "ines", TIME)
    return Known(record(5, address, ONLY_COMMANDED, good=False), test, Approval(address, "c1", "erik", TIME))


def signed(*pages: tuple[dict[str, PlacePoint | None], dict[str, Known]]) -> SignedOff:
    caller = Caller("ines", frozenset({"Installer"}))
    draft = Draft(SignOff(PLACE, "gw1", caller, "", None), Mapping(devices=[]))
    for points, known in pages:
        draft.add(points, known, {})
    return draft.signed()


def test_what_is_commanded_only_is_commissioned_when_its_command_is_tested_and_approved() -> None:
    address = f"{PLACE}/QA1/CSWI1/Pos"
    known = of_command(address)
    assert standing_of(known, ONLY_COMMANDED).ready
    found = signed(({address: PlacePoint(address, "rtu", "iec104", ONLY_COMMANDED)}, {address: known}))
    assert (found.records, found.states) == ([5], {State.COMMISSIONED: 1})
    assert not standing_of(replace(known, approval=None), ONLY_COMMANDED).ready


def test_a_sign_off_of_several_pages_signs_and_counts_all_and_names_all_people() -> None:
    one, two, gone = f"{PLACE}/_/MMXU1/Hz", f"{PLACE}/_/MMXU1/TotW", f"{PLACE}/_/MMXU1/TotVAr"
    points = {address: PlacePoint(address, "rtu", "", VALUE) for address in (one, two)}
    found = signed(
        ({one: points[one]}, {one: Known(record(1, one))}),
        ({two: points[two], gone: None}, {gone: Known(replace(record(2, gone), user="ivan"))}),
    )
    assert found.records == [1]
    assert found.states == {State.COMMISSIONED: 1, State.BOUND: 1, State.REMOVED: 1}
    assert "| looked at by | ines, ivan |" in found.protocol.markdown
    assert "| points | 3 |" in found.protocol.markdown
    assert found.protocol.csv.index(one) < found.protocol.csv.index(two) < found.protocol.csv.index(gone)
