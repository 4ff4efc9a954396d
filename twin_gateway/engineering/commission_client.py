"""Asking the running gateway about commissioning, and its kept protocols also while it does not run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TypeVar

from twin_gateway.commissioning.store import FILE, CommissioningStore, KeptProtocol
from twin_gateway.control import ControlError, ask
from twin_gateway.data_lock import DirectoryInUseError, locked

ResultT = TypeVar("ResultT")


class Client:
    """One person at a place of the running gateway; logged out at the end of the block.

    Attributes:
        begun: what the gateway said of the place and of the rights of the user.
    """

    def __init__(self, folder: Path, place: str, user: str, password: str) -> None:
        self._folder = folder
        self.begun: dict[str, Any] = ask(folder, "commission.begin", place=place, user=user, password=password)

    def ask(self, what: str, **more: Any) -> Any:
        """Ask something.

        Raises:
            ControlError: refused, or the gateway is gone.
        """
        return ask(self._folder, f"commission.{what}", token=self.begun["token"], **more)

    def points(self) -> list[dict[str, Any]]:
        """Every point of the place with its state."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.ask("list", offset=len(found))
            found += page["points"]
            if not page["points"] or len(found) >= page["total"]:
                return found

    def with_texts(self, signed: Mapping[str, Any]) -> dict[str, Any]:
        """What was said of a sign-off, with the texts of the protocol."""
        return with_texts(self._folder, signed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(ControlError):  # a gateway that is gone has ended the session
            self.ask("end")


def with_texts(folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """What the gateway told of a protocol, with both of its texts.

    Raises:
        ControlError: the gateway is gone.
    """
    return {**told, **{form: _text(folder, told[f"{form}_digest"]) for form in ("markdown", "csv")}}


def _text(folder: Path, digest: str) -> str:
    text = ""
    while True:
        page: dict[str, Any] = ask(folder, "commission.text", digest=digest, offset=len(text))
        text += str(page["text"])
        if not page["text"] or len(text) >= page["length"]:
            return text


def kept_protocol(folder: Path, place: str) -> dict[str, Any]:
    """The last protocol of a place, from the gateway or, while none runs, from its files.

    Raises:
        ControlError: there is none, or it cannot be read.
    """
    found = _asked_or_read(
        folder,
        lambda: with_texts(folder, ask(folder, "commission.report", place=place)),
        lambda store: store.protocol(place),
    )
    if found is None:
        raise ControlError(f"no protocol of {place} has been signed (say its whole address: no gateway runs)")
    if isinstance(found, KeptProtocol):
        return {**asdict(found), "void": [], "void_count": 0}
    return dict(found)


def protocol_with(folder: Path, digest: str) -> dict[str, Any] | None:
    """Place, time and user of the protocol that was signed with a digest; None when none of this gateway was.

    Raises:
        ControlError: that cannot be found out.
    """
    found = _asked_or_read(
        folder,
        lambda: ask(folder, "commission.verify", digest=digest),
        lambda store: store.protocol_with(digest),
    )
    if isinstance(found, KeptProtocol):
        return {"place": found.place, "time": found.time, "user": found.user}
    return None if found is None else dict(found)


def _asked_or_read(
    folder: Path, asked: Callable[[], Any], read: Callable[[CommissioningStore], Awaitable[ResultT]]
) -> Any:
    try:
        return asked()
    except ControlError as refused:
        if not (folder / FILE).is_file():
            raise
        try:
            with locked(folder):
                return asyncio.run(_read(folder, read))
        except DirectoryInUseError:
            raise refused from None  # a gateway runs: it has said why


async def _read(folder: Path, read: Callable[[CommissioningStore], Awaitable[ResultT]]) -> ResultT:
    store = CommissioningStore(folder / FILE)
    await store.open()
    try:
        return await read(store)
    finally:
        await store.close()
