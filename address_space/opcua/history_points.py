"""Continuation points of HistoryRead (Part 4, 7.9): random, of one session, bounded, each good for one answer."""

from __future__ import annotations

import secrets
import weakref
from typing import TYPE_CHECKING, NamedTuple, Protocol

from address_space.opcua.untyped import ua
from address_space.opcua.wire import OperationError

if TYPE_CHECKING:
    from address_space.opcua.history_raw import Answer
    from address_space.opcua.session import Session


class Reading(Protocol):
    """One node's history on its way, part by part.

    Attributes:
        page: values, intervals or events of one answer at most.
    """

    page: int

    async def next(self) -> Answer:
        """The next part."""
        ...


class Unfinished(NamedTuple):
    """What a continuation point stands for.

    Attributes:
        node_id: of the node, on the wire.
        details: number of the details' encoding (649 for raw values).
        reading: where it goes on.
        request: number of the request that gave the point.
    """

    node_id: bytes
    details: int
    reading: Reading
    request: int


class ContinuationPoints:
    """The unfinished readings of all sessions.

    Args:
        most: of one session. When more are needed those of earlier requests are given up, the oldest first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: weakref.WeakKeyDictionary[Session, dict[bytes, Unfinished]] = weakref.WeakKeyDictionary()

    def take(self, session: Session, point: bytes) -> Unfinished:
        """The reading of a point, which is gone then.

        Raises:
            OperationError: BadContinuationPointInvalid.
        """
        unfinished = self._of.get(session, {}).pop(point, None)
        if unfinished is None:
            raise OperationError(ua.StatusCodes.BadContinuationPointInvalid)
        return unfinished

    def keep(self, session: Session, unfinished: Unfinished) -> bytes:
        """A new point for a reading.

        Raises:
            OperationError: BadNoContinuationPoints when this request has taken all there can be.
        """
        mine = self._of.get(session)
        if mine is None:
            mine = self._of[session] = {}
            session.on_close.append(lambda _: mine.clear())
        if len(mine) >= self._most:
            oldest = next((key for key, each in mine.items() if each.request != unfinished.request), None)
            if oldest is None:
                raise OperationError(ua.StatusCodes.BadNoContinuationPoints)
            del mine[oldest]
        point = secrets.token_bytes(16)
        mine[point] = unfinished
        return point

    def forget(self, session: Session) -> None:
        """A session has another user: what the former one may read is not for this one."""
        self._of.get(session, {}).clear()

    def count(self, session: Session) -> int:
        """How many a session has."""
        return len(self._of.get(session, ()))
