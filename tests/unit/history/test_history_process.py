"""The history process in a thread: what is given up, what comes last, and what no database takes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from peers.waiting import wait_until

from address_space.catalogue import ValueType
from address_space.events import Event, EventJournal
from address_space.table import PointTable
from twin_gateway.history.feed import Feed
from twin_gateway.history.frames import SIZES, Frame, decode, sizes
from twin_gateway.history.link import ProcessLink
from twin_gateway.history.process import HistoryProcess
from twin_gateway.history.service import History
from twin_gateway.history.settings import HistorySettings

ADDRESS = "dso1/n/PS1/MV1/F1/QA1/MMXU1/TotW"
NAME = "dso1/n/PS1/MV1/F1/QA1/LPHD1/PhyNam/name"
NOON = 133_800_048_000_000_000


class Peer:
    """The gateway's end of the socket, and the process at the other."""

    def __init__(self, folder: Path) -> None:
        self.channel, theirs = socket.socketpair()
        self.stream = self.channel.makefile("rb")
        self.theirs = theirs
        settings = HistorySettings(reserve_mb=0, interval=0.05)
        self.process = HistoryProcess(theirs, folder, settings, ("run", NOON))
        self.thread = threading.Thread(target=self.process.serve)
        self.number = 0

    def start(self) -> None:
        """It serves."""
        self.thread.start()
        assert self.heard("ready")

    def say(self, frame: Frame) -> None:
        """Send a frame."""
        self.channel.sendall(b"".join(frame.encode()))

    def heard(self, kind: str) -> Frame:
        """The next frame of a kind."""
        while True:
            head, body = sizes(self.stream.read(SIZES.size))
            frame = decode(self.stream.read(head), self.stream.read(body))
            if frame.kind == kind:
                return frame

    def learn(self) -> None:
        """Tell the addresses."""
        columns = {"rows": np.array([0, 1], np.int32), "types": np.array([ValueType.DOUBLE, ValueType.STRING], "u1")}
        self.say(Frame("series", {"addresses": [ADDRESS, NAME]}, columns))

    def put(self, value: float | str) -> None:
        """One sample, a second after the one before."""
        self.number += 1
        text = isinstance(value, str)
        moment = np.array([NOON + self.number * 10_000_000], np.int64)
        columns = {
            "rows": np.array([int(text)], np.int32),
            "raw": np.array([0.0 if isinstance(value, str) else value]).view(np.uint64),
            "status": np.zeros(1, np.uint32),
            "time": moment,
            "received": moment,
        }
        head = {"late": False, "run": "run", "batch": self.number, **({"texts": [value]} if text else {})}
        self.say(Frame("samples", head, columns))

    def ask(self, address: str = ADDRESS, number: int = 1) -> Frame:
        """All samples of a point."""
        asked = {"address": address, "start": 0, "end": 1 << 61, "limit": 0, "reverse": False, "resume": None}
        self.say(Frame("query", {**asked, "modified": False, "what": "raw", "id": number}))
        return self.heard("answer")

    def end(self) -> None:
        """The gateway goes."""
        if self.thread.ident is not None:
            self.channel.shutdown(socket.SHUT_WR)
            self.thread.join(20)
        self.stream.close()
        self.channel.close()
        self.theirs.close()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    made = Peer(tmp_path / "history")
    yield made
    made.end()


def test_what_has_come_is_on_disk_before_queries_under_way_are_waited_for(peer: Peer) -> None:
    reading, let_go = threading.Event(), threading.Event()
    peer.start()
    peer.process._pool.submit(lambda: (reading.set(), let_go.wait(20)))
    assert reading.wait(20)
    peer.learn()
    peer.put(1.0)
    peer.say(Frame("stop"))
    peer.channel.settimeout(5)
    assert peer.heard("done").head["written"] == 1
    let_go.set()


def test_a_query_that_is_given_up_when_it_has_just_ended_leaves_nothing_behind(peer: Peer) -> None:
    peer.start()
    peer.learn()
    peer.put(1.0)
    assert len(peer.ask(number=7).columns["raw"]) == 1
    peer.say(Frame("cancel", {"id": 7}))
    assert len(peer.ask(number=8).columns["raw"]) == 1
    wait_until(lambda: not peer.process._queries)


def test_a_text_that_is_no_unicode_stops_nothing(peer: Peer) -> None:
    peer.start()
    peer.learn()
    peer.put("a\ud800b")
    peer.put("c")
    assert peer.ask(NAME).head["texts"] == ["a?b", "c"]


def test_values_of_another_type_are_bad_and_empty(peer: Peer) -> None:
    peer.start()
    peer.learn()
    for value in (1.0, 2.5, float("nan"), -1.0):
        peer.put(value)
    peer.say(
        Frame(
            "series",
            {"addresses": [ADDRESS]},
            {"rows": np.zeros(1, np.int32), "types": np.array([ValueType.UINT32], "u1")},
        )
    )
    found = peer.ask()
    assert found.columns["status"].tolist() == [0, 0x8074_0000, 0x8074_0000, 0x8074_0000]
    assert found.columns["raw"][0] == 1


class _Sent(ProcessLink):
    """A link that keeps the kinds of frames."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def send(self, parts: object) -> None:
        """Note it."""
        _, head, *_ = parts  # type: ignore[misc]  # as of Frame.encode
        self.kinds.append(decode(head, b"\0" * 100).kind)

    async def drain(self) -> None:
        """At once."""


async def test_a_round_that_fails_is_a_gap_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    events, link = EventJournal(), _Sent()
    feed = Feed(PointTable(), events, HistorySettings(), lambda count, what: None)
    await feed.begin(link, "", 0)

    def fail() -> bool:
        raise ValueError("cannot be sent")

    with monkeypatch.context() as once:
        once.setattr(feed, "_feed_events", fail)
        assert not await feed.round()
    events.append(Event("D01", "after"))
    assert await feed.round()
    assert link.kinds == ["gap", "events"]
    feed.close()


async def test_a_commit_ends_the_pause_that_a_process_before_had_told(tmp_path: Path) -> None:
    table, events = PointTable(), EventJournal()
    history = History(table, events, HistorySettings(), tmp_path)
    history._feed = Feed(table, events, HistorySettings(), lambda count, what: None)
    history._heard(Frame("paused", {"text": "disk full"}))
    history._ended()
    figures = dict.fromkeys(("written", "events", "commits", "closed", "removed", "days", "octets"), 0)
    history._heard(Frame("done", {"batch": 0, **figures}))
    assert not history.counters.paused
    history._feed.close()
