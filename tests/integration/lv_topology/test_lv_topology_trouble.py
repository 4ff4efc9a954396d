"""The file of findings in trouble: one that cannot be opened fails this function only, a damaged one is put aside."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from peers.waiting import until

from address_space.ports import Caller
from address_space.quality import StatusCode
from twin_gateway.functions.lv_topology import FILE, make_lv_topology
from twin_gateway.functions.lv_topology_settings import LvTopologySettings

OWNER = "dso1/north/_/_/_/_/twTOPO1"
ENGINEER = Caller("eva", frozenset({"Engineer"}), "test")


async def test_a_file_that_cannot_be_opened_fails_the_function_until_it_can(
    tmp_path: Path, make_context: Callable[[], SimpleNamespace]
) -> None:
    (tmp_path / FILE).mkdir()
    bench = make_context()
    function = make_lv_topology(bench.context, LvTopologySettings(), bench.context.worker)
    for name, arguments in (("Accept", ["LV1-0"]), ("Reject", ["LV1-0", "no"])):
        result = await function.call(OWNER, name, arguments, ENGINEER)
        assert result.status == StatusCode.BadResourceUnavailable
    with pytest.raises((OSError, sqlite3.OperationalError)):
        await function.run()
    (tmp_path / FILE).rmdir()
    task = asyncio.create_task(function.run())
    await until((tmp_path / FILE).is_file)
    await asyncio.sleep(0.05)
    assert not task.done()
    result = await function.call(OWNER, "Accept", ["LV1-0"], ENGINEER)
    assert result.status == StatusCode.BadNoMatch
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_damaged_file_is_put_aside_and_told_and_a_new_one_is_begun(
    tmp_path: Path, make_context: Callable[[], SimpleNamespace]
) -> None:
    (tmp_path / FILE).write_bytes(b"no database, but long enough to be taken for one" * 100)
    bench = make_context()
    function = make_lv_topology(bench.context, LvTopologySettings(), bench.context.worker)
    (event,) = [event for event in bench.told() if event.code == "G02"]
    assert "kept as lv_topology-damaged.sqlite" in event.text
    assert (tmp_path / "lv_topology-damaged.sqlite").read_bytes().startswith(b"no database")
    assert function.references() == {}
