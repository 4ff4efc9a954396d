"""Invocation counters: on disk before use, never twice, never back, also after kill -9."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from twin_gateway.drivers.dlms.ciphering import Key
from twin_gateway.drivers.dlms.counters import (
    BLOCK,
    HIGHEST_HINT,
    LOW,
    CounterStore,
    CounterStoreError,
    counter_key,
)
from twin_gateway.drivers.dlms.errors import CounterExhaustedError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "counters.journal"


async def test_a_block_is_on_disk_before_its_first_number_is_used(path):
    store = CounterStore(path)
    counter = store.counter("k", 1)
    with pytest.raises(CounterExhaustedError):
        counter.next()
    await counter.ensure()
    assert path.read_text().endswith(f"k {1 + BLOCK}\n")
    assert [counter.next(), counter.next()] == [1, 2]
    store.close()


async def test_a_new_start_begins_behind_everything_reserved(path):
    for expected in (1, 1 + BLOCK, 1 + 2 * BLOCK):
        store = CounterStore(path)
        counter = store.counter("k", 1)
        await counter.ensure()
        assert counter.next() == expected
        store.close()


async def test_running_through_several_blocks_leaves_no_gap_and_no_repetition(path):
    store = CounterStore(path)
    counter = store.counter("k", 1)
    used = []
    for _ in range(2 * BLOCK + 500):
        if counter.short:
            await counter.ensure()
        used.append(counter.next())
    assert used == list(range(1, 2 * BLOCK + 501))
    store.close()


async def test_two_links_with_one_key_never_share_a_number(path):
    store = CounterStore(path)
    one, two = store.counter("k", 1), store.counter("k", 1)
    used = []
    for _ in range(BLOCK):
        await asyncio.gather(one.ensure(), two.ensure())
        used += [one.next(), two.next(), two.next()]
    assert len(used) == len(set(used))
    store.close()


async def test_reservations_that_arrive_together_share_one_sync(path, monkeypatch):
    store = CounterStore(path)
    syncs = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (syncs.append(threading.current_thread()), real(fd)))
    await asyncio.gather(*[store.counter(f"k{i}", 1).ensure() for i in range(200)])
    assert len(syncs) == 1
    assert syncs[0] is not threading.main_thread()  # the loop is not blocked
    store.close()


async def test_a_hint_only_leads_forward_and_is_reserved_before_use(path):
    store = CounterStore(path)
    counter = store.counter("k", 500)
    await counter.ensure()
    assert not counter.forward(3)
    assert not counter.forward(500)
    assert counter.forward(700)
    assert counter.next() == 700
    assert counter.forward(1_000_000)
    with pytest.raises(CounterExhaustedError):
        counter.next()
    await counter.ensure()
    assert counter.next() == 1_000_000
    assert store.counter("k", 1).value == 1_000_000 + BLOCK
    store.close()


async def test_a_hint_that_would_use_the_key_up_is_not_believed(path):
    store = CounterStore(path)
    counter = store.counter("k", 1)
    assert not counter.forward(HIGHEST_HINT + 1)
    assert counter.forward(HIGHEST_HINT)
    store.close()


async def test_a_used_up_key_is_refused_instead_of_starting_again(path):
    store = CounterStore(path)
    counter = store.counter("k", 0xFFFFFFFF - 10)
    with pytest.raises(CounterExhaustedError):
        await counter.ensure()
    store.close()


async def test_a_torn_last_line_is_ignored_and_a_damaged_one_is_not(path):
    store = CounterStore(path)
    await store.counter("k", 1).ensure()
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b"1234abcd k 99")
    store = CounterStore(path)
    assert store.counter("k", 1).value == 1 + BLOCK
    store.close()
    path.write_bytes(b"x" + whole[1:])
    with pytest.raises(CounterStoreError, match=":1 is damaged"):
        CounterStore(path)


def test_a_second_process_is_kept_out(path):
    store = CounterStore(path)
    with pytest.raises(CounterStoreError, match="another process"):
        CounterStore(path)
    store.close()
    CounterStore(path).close()


async def test_links_of_one_process_share_a_store_until_the_last_lets_go(path):
    first, second = await asyncio.gather(CounterStore.shared(path), CounterStore.shared(path))
    assert first is second and await CounterStore.shared(path) is first
    del first, second
    (await CounterStore.shared(path)).close()


async def test_opening_the_store_does_not_make_the_event_loop_wait_for_the_disk(path, monkeypatch):
    syncs = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (syncs.append(threading.current_thread()), real(fd)))
    (await CounterStore.shared(path)).close()
    assert syncs and threading.main_thread() not in syncs


async def test_a_journal_that_cannot_be_compacted_goes_on_and_keeps_no_file_open(path, monkeypatch):
    monkeypatch.setattr("twin_gateway.drivers.dlms.counters._COMPACT_LINES", 10)
    store = CounterStore(path)
    open_files = len(os.listdir("/proc/self/fd"))

    def full(_self, _target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", full)
        for _ in range(100):
            await store.take("k", 0)
    assert len(os.listdir("/proc/self/fd")) == open_files
    store.close()
    store = CounterStore(path)
    assert store.counter("k", 1).value == 100 * BLOCK
    store.close()


async def test_what_is_reserved_after_a_compaction_that_failed_at_its_end_is_known_after_a_restart(path, monkeypatch):
    monkeypatch.setattr("twin_gateway.drivers.dlms.counters._COMPACT_LINES", 10)
    store = CounterStore(path)

    def broken(_directory):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("twin_gateway.drivers.dlms.counters.sync_directory", broken)
        for _ in range(13):
            await store.take("k", 0)
        with pytest.raises(OSError, match="Input"):
            # Which file a power failure would leave is not known: no numbers.
            await store.take("k", 0)
    start, end = await store.take("k", 0)
    store.close()
    store = CounterStore(path)
    assert store.counter("k", 1).value == end > start
    store.close()


async def test_a_failing_disk_gives_no_numbers_and_leaves_no_half_line(path, monkeypatch):
    store = CounterStore(path)
    counter = store.counter("k", 1)

    def full(_fd):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="space"):
            await counter.ensure()
    assert path.read_bytes() == b""
    with pytest.raises(CounterExhaustedError):
        counter.next()
    await counter.ensure()
    assert counter.next() > 0
    store.close()


async def test_a_disk_that_is_full_for_a_while_costs_no_association_and_no_numbers(path, monkeypatch, caplog):
    store = CounterStore(path)
    counter = store.counter("k", 1)
    await counter.ensure()
    used = [counter.next() for _ in range(BLOCK - LOW + 1)]

    def full(_fd):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for _ in range(LOW - 10):
            await counter.ensure()
            used.append(counter.next())
    assert caplog.text.count("No space left") == 1
    await counter.ensure()
    used += [counter.next() for _ in range(2 * LOW)]
    assert used == list(range(1, len(used) + 1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="space"):
            while True:
                await counter.ensure()
                counter.next()
    store.close()


async def test_the_journal_is_compacted(path, monkeypatch):
    monkeypatch.setattr("twin_gateway.drivers.dlms.counters._COMPACT_LINES", 10)
    store = CounterStore(path)
    for _ in range(100):
        await store.take("k", 0)
    assert len(path.read_bytes().splitlines()) < 20
    store.close()
    store = CounterStore(path)
    assert store.counter("k", 1).value == 100 * BLOCK
    store.close()


async def test_the_file_is_private_and_names_no_key(path):
    key = Key(bytes(range(16)))
    store = CounterStore(path)
    await store.counter(counter_key(b"TWG\0\0\0\0\1", key)).ensure()
    store.close()
    assert path.stat().st_mode & 0o077 == 0
    assert key.octets.hex() not in path.read_text()


_USER = """
import asyncio, sys
from pathlib import Path
from twin_gateway.drivers.dlms.counters import CounterStore

async def main():
    counter = CounterStore(Path(sys.argv[1])).counter("k", 1)
    while True:
        await counter.ensure()
        print(counter.next(), flush=True)

asyncio.run(main())
"""


def test_no_number_is_used_twice_over_kill_9(path):
    used = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", _USER, str(path)], stdout=subprocess.PIPE, text=True)
        lines = [process.stdout.readline() for _ in range(1500)]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait(10)
        process.stdout.close()
        lines += [line + "\n" for line in rest.split("\n")[:-1]]
        used += [int(line) for line in lines if line.endswith("\n")]
    assert len(used) >= 4500
    assert used == sorted(set(used))


class _Cut(BaseException):
    """The power goes."""


class _Disk:
    """Lets the power go at the n-th call that writes; keeps what is on disk for sure: what was synced."""

    def __init__(self, folder, monkeypatch, cut_at):
        self.folder = folder
        self.left = cut_at
        self.files = self._seen()
        self.names = dict(self.files)
        self._write, self._fsync, self._rename = os.write, os.fsync, os.replace
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.rename)

    def _seen(self):
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def _tick(self):
        self.left -= 1
        if self.left == 0:
            raise _Cut

    def write(self, descriptor, data):
        try:
            self._tick()
        except _Cut:
            self._write(descriptor, data[: len(data) // 2])
            raise
        return self._write(descriptor, data)

    def fsync(self, descriptor):
        self._tick()
        self._fsync(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if os.path.isdir(path):
            # The names are those of now; what they name is as far as it was synced.
            self.names = {name: self.files.get(name, b"") for name in self._seen()}
        else:
            name = os.path.basename(path)
            self.files[name] = (self.folder / name).read_bytes()
            if name in self.names:
                self.names[name] = self.files[name]

    def rename(self, old, new):
        self._tick()
        self._rename(old, new)
        self.files[os.path.basename(new)] = self.files.pop(os.path.basename(old), b"")

    def forget_unsynced(self):
        for path in self.folder.iterdir():
            path.unlink()
        for name, content in self.names.items():
            (self.folder / name).write_bytes(content)


@pytest.mark.parametrize("outage", ["of the process", "of the power"])
async def test_no_number_is_used_twice_wherever_an_outage_cuts_the_writing_short(path, monkeypatch, outage):
    monkeypatch.setattr("twin_gateway.drivers.dlms.counters._COMPACT_LINES", 2)
    monkeypatch.setattr("twin_gateway.drivers.dlms.counters.BLOCK", 80)
    used, cuts = set(), 0
    for cut_at in range(1, 60):
        with monkeypatch.context() as patch:
            disk = _Disk(path.parent, patch, cut_at)
            store = None
            try:
                store = CounterStore(path)
                counters = [store.counter("k", 1), store.counter("k", 1), store.counter("other", 1)]
                for _ in range(5):
                    for counter in counters:
                        # All that is reserved, and as a meter's hint moves it.
                        await counter.ensure()
                        numbers = {
                            (counter is counters[2], counter.next()) for _ in range(counter.limit - counter.value)
                        }
                        assert not numbers & used
                        used |= numbers
                        counter.forward(counter.value + 10)
            except _Cut:
                cuts += 1
            if store is not None:
                store.close()
        # A process that is killed leaves what it wrote, a computer without power what it synced.
        if outage == "of the power":
            disk.forget_unsynced()
    assert cuts > 20
