"""GOOSE frames as open61850's encoder makes them; it shares no code with what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from open61850.data import BoolData, IECData
from open61850.goose import GoosePDU, encode_goose_frame

AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def made(
    state: int,
    sequence: int,
    *,
    values: Sequence[IECData] = (BoolData(True),),
    source: str = "02:00:00:00:00:01",
    destination: str = "01:0c:cd:01:00:01",
    app_id: int = 0x3001,
    at: datetime = AT,
    live: int = 500,
    revision: int = 3,
    data_set: str = "F07Q1LD0/LLN0$dsTrip",
    go_id: str | None = "trip",
    block: str = "F07Q1LD0/LLN0$GO$gcbTrip",
    simulation: bool = False,
    nds_com: bool = False,
    time_quality: int = 10,
    vlan_id: int | None = None,
    vlan_priority: int | None = None,
) -> bytes:
    """One frame."""
    message = GoosePDU(
        block, live, data_set, go_id, at, state, sequence, simulation, revision, nds_com, len(values), list(values),
        time_quality,
    )  # fmt: skip
    return encode_goose_frame(
        message, dst_mac=destination, src_mac=source, app_id=app_id, vlan_id=vlan_id, vlan_priority=vlan_priority
    )
