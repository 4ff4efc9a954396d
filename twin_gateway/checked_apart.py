"""Mapping files checked in a process of its own, so that the event loop of a gateway at work never waits for that.

The mapping comes back in pieces: devices first, then some hundred points at a time, so that taking it up does not hold
the interpreter for long either. What points share (profiles) is shared again afterwards.
"""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from address_space.point import PointProfile
from twin_gateway.drivers.contract import ProtocolSpec
from twin_gateway.drivers.registry import protocol
from twin_gateway.functions.worker import ComputeError, Worker
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.mapping.problem import Problem
from twin_gateway.revisions import hash_of

log = logging.getLogger(__name__)

_PIECE: Final = 500
"""Points taken up at once: some milliseconds."""
_LONGEST_S: Final = 600.0
MOST_PROBLEMS: Final = 500
"""Problems that come back; further ones are counted."""


class CheckingError(Exception):
    """The files could not be checked; the message is a sentence that says why. Says nothing of the files."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check has found.

    Attributes:
        mapping: None when there is an error, or when only the verdict was wanted.
        sound: no error.
        problems: the first of them, errors before warnings.
        errors: how many errors there are in all.
        files: SHA-256 (hex) of each mapping file that was read, when there is an error.
        revision: the hash that these files have as a revision; empty when there is an error.
    """

    mapping: PointMapping | None
    sound: bool
    problems: tuple[Problem, ...]
    errors: int
    files: Mapping[Path, str] = field(default_factory=dict)
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Files:
    """What is to be checked: as the arguments of `mapping.check.check`."""

    paths: Sequence[Path]
    beside: Mapping[Path, Path] | None = None
    wanted: bool = True
    """Whether the mapping is wanted, not only the verdict."""
    cache: Path | None = None


async def check_apart(files: Files) -> Checked:
    """Check files in another process.

    Raises:
        CheckingError: the process died, took too long, or the check itself has failed.
    """
    worker = Worker()
    try:
        pieces = await worker.run_within(_LONGEST_S, in_pieces, files)
    except ComputeError as error:
        raise CheckingError(f"the mapping files could not be checked: {error}") from error
    except Exception as error:
        log.exception("the check of the mapping files has failed")
        raise CheckingError(f"the mapping files could not be checked: {error!r}") from error
    finally:
        worker.close()
    return await asyncio.to_thread(put_together, pieces)


def in_pieces(files: Files) -> list[bytes]:
    """In the process: check, and the result cut up for `put_together`."""
    digests: dict[Path, str] = {}
    mapping, problems = check(files.paths, beside=files.beside, cache=files.cache, digests=digests)
    errors = [problem for problem in problems if problem.severity == "error"]
    rest = [problem for problem in problems if problem.severity != "error"]
    told = tuple([*errors, *rest][:MOST_PROBLEMS])
    if mapping is None:
        return [pickle.dumps((Checked(None, False, told, len(errors), digests), ()))]
    verdict = Checked(None, True, told, len(errors), revision=hash_of(mapping))
    if not files.wanted:
        return [pickle.dumps((verdict, ()))]
    profiles: dict[PointProfile, int] = {}
    pieces: list[bytes] = []
    for number, device in enumerate(mapping.devices):
        points, device.points = device.points, []
        pieces += [
            _dumped((number, points[first : first + _PIECE]), profiles) for first in range(0, len(points), _PIECE)
        ]
    head = _dumped(mapping, profiles)
    return [pickle.dumps((verdict, tuple(profiles))), head, *pieces]


def put_together(pieces: Sequence[bytes]) -> Checked:
    """The result again; for a thread: whoever wants the interpreter gets it between the pieces."""
    verdict, profiles = pickle.loads(pieces[0])  # noqa: S301 - from our own process
    if len(pieces) == 1:
        return verdict  # type: ignore[no-any-return]  # as `in_pieces` wrote it
    # A collection that looks at all of the new mapping would hold up the event loop; what is taken up stays.
    collecting = gc.isenabled()
    gc.disable()
    try:
        mapping: PointMapping = _Loader(pieces[1], profiles).load()
        for piece in pieces[2:]:
            device, points = _Loader(piece, profiles).load()
            mapping.devices[device].points += points
            time.sleep(0.001)
        gc.freeze()
    finally:
        if collecting:
            gc.enable()
    return Checked(mapping, verdict.sound, verdict.problems, verdict.errors, revision=verdict.revision)


class _Dumper(pickle.Pickler):
    """Profiles by number, protocols by name: their declarations hold functions, and there is one of each."""

    def __init__(self, file: io.BytesIO, profiles: dict[PointProfile, int]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._profiles = profiles

    def persistent_id(self, thing: Any) -> int | str | None:
        """What stands for a thing in the piece."""
        if isinstance(thing, PointProfile):
            return self._profiles.setdefault(thing, len(self._profiles))
        return thing.name if isinstance(thing, ProtocolSpec) else None


class _Loader(pickle.Unpickler):
    def __init__(self, piece: bytes, profiles: Sequence[PointProfile]) -> None:
        super().__init__(io.BytesIO(piece))
        self._profiles = profiles

    def persistent_load(self, mark: Any) -> PointProfile | ProtocolSpec:
        """What a mark stands for."""
        return self._profiles[mark] if isinstance(mark, int) else protocol(mark)


def _dumped(thing: Any, profiles: dict[PointProfile, int]) -> bytes:
    file = io.BytesIO()
    _Dumper(file, profiles).dump(thing)
    return file.getvalue()


def how_many(errors: int) -> str:
    """So many errors, in words of a sentence."""
    return f"{errors} error{'s' * (errors != 1)}"


def first_problems(problems: Sequence[Problem], errors: int, most: int = 3) -> Iterator[str]:
    """The first errors, a sentence each, and how many more there are."""
    told = [problem for problem in problems if problem.severity == "error"][:most]
    yield from map(str, told)
    if errors > len(told):
        yield f"and {errors - len(told)} more"
