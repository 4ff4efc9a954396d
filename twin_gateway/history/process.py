"""The history process: one thread writes, some read; a fault of it, or of DuckDB, never reaches the service.

Arguments: number of the socket, folder, settings as JSON, run of the gateway, and since when it has been following in
ticks. It ends when the socket does, after it has committed what it had received.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType
from twin_gateway.history.database import HistoryPausedError, first_line
from twin_gateway.history.frames import SIZES, Frame, decode, sizes
from twin_gateway.history.housekeeping import keep_house
from twin_gateway.history.reading import Page, Reader
from twin_gateway.history.settings import HistorySettings
from twin_gateway.history.store import HistoryStore
from twin_gateway.history.values import TYPE_MISMATCH, bits_of, misfits, numbers_of

log = logging.getLogger(__name__)
RETRY_S = 1.0
HOUSE_S = 10.0
HEARTBEAT_S = 10.0


class HistoryProcess:
    """Serves one gateway over one socket.

    Args:
        channel: connected stream socket.
        folder, settings: of the store.
        follower: run of the gateway, and since when it has been following, ticks.
    """

    def __init__(
        self, channel: socket.socket, folder: Path, settings: HistorySettings, follower: tuple[str, int]
    ) -> None:
        self._follower = follower
        self._channel = channel
        self._store = HistoryStore(folder, settings, tell=self._tell)
        self._settings = settings
        self._inbox: queue.Queue[Frame | None] = queue.Queue()
        self._sending = threading.Lock()
        self._pool = ThreadPoolExecutor(self._settings.readers, thread_name_prefix="reader")
        self._house = ThreadPoolExecutor(1, thread_name_prefix="house")
        self._keeping: Future[None] | None = None
        self._reading = threading.Lock()
        self._queries: dict[int, Reader | None] = {}
        self._series: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self._types: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._run, self._batch = "", 0
        self._since = self._committed_at = self._housed_at = time.monotonic()
        self._retry_at = 0.0
        self._paused = False
        self._house_said = ""

    def serve(self) -> None:
        """Until the socket ends or it is told to stop."""
        if not self._open():
            return
        threading.Thread(target=self._receive, name="receive", daemon=True).start()
        self._send(Frame("ready", {"run": self._store.run, "batch": self._store.batch}))
        while (frame := self._next()) is not None:
            if frame.kind:
                self._handle(frame)
            self._commit_when_due()
        # On disk first: what is being read, and a day that is being closed, may take longer than the gateway waits.
        self._commit()
        with self._reading:
            under_way = list(self._queries)
        for number in under_way:
            self._cancel(number)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._house.shutdown(wait=True)
        try:
            self._store.close()
        except HistoryPausedError as error:
            log.error("history: %d rows are lost at the end: %s", self._store.waiting, error)

    def _open(self) -> bool:
        for attempt in itertools.count():
            try:
                self._store.open(*self._follower)
                break
            except HistoryPausedError as error:
                # The process of a gateway that was killed may still be writing what it had received.
                if attempt > 10:
                    self._pause(str(error))
                if not self._send(Frame("waiting")):
                    return False
                time.sleep(RETRY_S / 10 if attempt < 10 else RETRY_S)
        if self._paused:
            self._paused, self._retry_at = False, 0.0
            self._send(Frame("running"))
        return True

    # ---- what comes in --------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        try:
            with self._channel.makefile("rb", buffering=1 << 20) as stream:
                while len(octets := stream.read(SIZES.size)) == SIZES.size:
                    head, columns = sizes(octets)
                    self._inbox.put(decode(stream.read(head), stream.read(columns)))
        except (OSError, ValueError) as error:
            log.warning("history: the gateway is gone: %s", error)
        self._inbox.put(None)

    def _next(self) -> Frame | None:
        """The next frame, an empty one when a commit is due first, None at the end."""
        now = time.monotonic()
        due = self._since + self._settings.interval if self._store.waiting else self._committed_at + HEARTBEAT_S
        due = max(due, self._retry_at)
        try:
            return self._inbox.get(timeout=max(0.001, min(due - now, 1.0)))
        except queue.Empty:
            return Frame("")

    def _handle(self, frame: Frame) -> None:
        kind = frame.kind
        if kind == "query":
            self._query(frame)
            return
        if kind == "cancel":
            self._cancel(int(frame.head["id"]))
            return
        if kind == "series":
            self._learn(frame)
            return
        if kind == "stop":
            self._inbox.put(None)
            return
        if not self._store.waiting:
            self._since = time.monotonic()
        if kind == "samples":
            self._samples(frame)
        elif kind == "events":
            self._store.add_events((int(moment), address, text) for moment, address, text in frame.head["events"])
        elif kind == "gap":
            self._store.note_gap(int(frame.head["begin"]), int(frame.head["end"]), frame.head["reason"])
        self._run, self._batch = frame.head["run"], int(frame.head["batch"])

    def _learn(self, frame: Frame) -> None:
        rows = frame.columns["rows"]
        if not len(rows):
            return
        size = int(rows.max()) + 1
        if size > len(self._series):
            missing = size * 5 // 4 - len(self._series)
            self._series = np.concatenate([self._series, np.full(missing, -1, np.int32)])
            self._types = np.concatenate([self._types, np.zeros(missing, np.uint8)])
        self._series[rows] = self._store.learn(frame.head["addresses"], frame.columns["types"].tolist())
        self._types[rows] = frame.columns["types"]

    def _samples(self, frame: Frame) -> None:
        columns = frame.columns
        rows = columns["rows"]
        value, wide = numbers_of(columns["raw"], self._types[rows])
        text: npt.NDArray[np.object_] | None = None
        if "texts" in frame.head:
            # A lone surrogate is no character: DuckDB takes none, and nothing after it would ever be written.
            text = np.array([each.encode(errors="replace").decode() for each in frame.head["texts"]], object)
        elif wide.any():
            text = np.full(len(rows), None, object)
            text[wide] = [str(number) for number in columns["raw"][wide].view(np.int64).tolist()]
        self._store.add(
            self._series[rows],
            columns["time"],
            columns["received"],
            value,
            columns["status"],
            text=text,
            late=bool(frame.head["late"]),
        )

    # ---- writing --------------------------------------------------------------------------------------------------

    def _commit_when_due(self) -> None:
        now = time.monotonic()
        if now < self._retry_at:
            return
        waiting = self._store.waiting
        if waiting:
            due = waiting >= self._settings.batch or now - self._since >= self._settings.interval
        else:
            due = now - self._committed_at >= HEARTBEAT_S or self._batch != self._store.batch
        if due:
            self._commit()
        if now - self._housed_at >= HOUSE_S and (self._keeping is None or self._keeping.done()):
            self._housed_at = now
            self._keeping = self._house.submit(self._keep_house)

    def _commit(self) -> bool:
        try:
            if self._paused:
                self._revive()
            self._store.commit(self._run, self._batch, force=True)
        except HistoryPausedError as error:
            self._pause(str(error))
            return False
        if self._paused:
            self._paused, self._retry_at = False, 0.0
            self._send(Frame("running"))
        self._committed_at = self._since = time.monotonic()
        self._send(Frame("done", {"batch": self._store.batch, **self._figures()}))
        return True

    def _revive(self) -> None:
        """A database that has failed must be opened again."""
        try:
            self._store.cursor().execute("SELECT count(*) FROM state").fetchall()
        except (duckdb.Error, HistoryPausedError):
            self._store.reopen()

    def _pause(self, text: str) -> None:
        self._retry_at = time.monotonic() + RETRY_S
        self._paused = True
        self._send(Frame("paused", {"text": text}))

    def _figures(self) -> dict[str, Any]:
        return {**asdict(self._store.counters), "days": len(self._store.days()), "octets": self._store.octets()}

    def _keep_house(self) -> None:
        try:
            keep_house(self._store)
            self._house_said = ""
        except Exception as error:  # told, and tried again at the next round
            text = f"History: days that are over cannot be closed: {first_line(error)}"
            if text != self._house_said:
                self._house_said = text
                self._tell("G02", 600, text)

    # ---- reading --------------------------------------------------------------------------------------------------

    def _query(self, frame: Frame) -> None:
        if self._store.has_waiting(frame.head.get("address", "")) and time.monotonic() >= self._retry_at:
            self._commit()
        with self._reading:
            self._queries[int(frame.head["id"])] = None
        self._pool.submit(self._answer, frame)

    def _cancel(self, number: int) -> None:
        """End a query, or leave it out when it has not begun; nothing when it has ended."""
        with self._reading:
            reader = self._queries.get(number)
            if reader is not None:
                reader.interrupt()
            else:
                self._queries.pop(number, None)

    def _answer(self, frame: Frame) -> None:
        number = int(frame.head["id"])
        try:
            with self._reading:
                if number not in self._queries:
                    return
                reader = self._queries[number] = Reader(self._store)
            try:
                answer = _ANSWERS[frame.head["what"]](reader, frame, number)
            finally:
                with self._reading:  # nobody interrupts what is closed
                    del self._queries[number]
                    reader.close()
        except KeyError as error:
            answer = Frame("answer", {"id": number, "unknown": str(error)})
        except Exception as error:  # the reader of the answer decides; this process serves on
            log.warning("history: a query failed: %s", error)
            answer = Frame("answer", {"id": number, "error": first_line(error)})
        finally:
            with self._reading:
                self._queries.pop(number, None)
        self._send(answer)

    def _send(self, frame: Frame) -> bool:
        try:
            with self._sending:
                for part in frame.encode():
                    self._channel.sendall(part)
        except OSError:
            return False  # the gateway has gone: the end of the socket is noticed by who reads it
        return True

    def _tell(self, code: str, severity: int, text: str) -> None:
        self._send(Frame("tell", {"code": code, "severity": severity, "text": text}))


def _columns_of(page: Page, prefix: str = "") -> tuple[dict[str, npt.NDArray[Any]], list[str | None] | None]:
    samples = page.samples
    columns: dict[str, npt.NDArray[Any]] = {
        f"{prefix}raw": bits_of(samples, page.value_type),
        f"{prefix}status": np.where(misfits(samples, page.value_type), TYPE_MISMATCH, samples.status).astype(np.uint32),
        f"{prefix}time": samples.time,
        f"{prefix}received": samples.received,
    }
    if page.modified is not None:
        columns["changed"], columns["change"] = page.modified
    return columns, samples.text.tolist() if page.value_type == ValueType.STRING else None


def _raw(reader: Reader, frame: Frame, number: int) -> Frame:
    head = frame.head
    resume = tuple(head["resume"]) if head["resume"] is not None else None
    page = reader.raw(
        head["address"],
        head["start"],
        head["end"],
        head["limit"],
        reverse=head["reverse"],
        resume=resume,
        modified=head["modified"],
    )
    columns, texts = _columns_of(page)
    return Frame("answer", {"id": number, "type": page.value_type, "texts": texts, "resume": page.resume}, columns)


def _bracket(reader: Reader, frame: Frame, number: int) -> Frame:
    before, after = reader.bracket(frame.head["address"], frame.columns["times"])
    columns, texts = _columns_of(before, "before_")
    more, later = _columns_of(after, "after_")
    head = {"id": number, "type": before.value_type, "before_texts": texts, "after_texts": later}
    return Frame("answer", head, {**columns, **more})


def _events(reader: Reader, frame: Frame, number: int) -> Frame:
    head = frame.head
    found, resume = reader.events(
        head["prefix"], head["start"], head["end"], head["limit"], reverse=head["reverse"], resume=head["resume"]
    )
    return Frame("answer", {"id": number, "events": found, "resume": resume})


_ANSWERS = {"raw": _raw, "bracket": _bracket, "events": _events}


def main(arguments: list[str]) -> int:
    """Serve one gateway; the exit code."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end of the socket says it, after which what came is committed
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=int(arguments[0]))
    settings = HistorySettings.model_validate_json(arguments[2])
    with contextlib.suppress(OSError):
        os.nice(settings.nice)
    HistoryProcess(channel, Path(arguments[1]), settings, (arguments[3], int(arguments[4]))).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
