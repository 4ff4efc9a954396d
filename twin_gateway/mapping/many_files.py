"""The check of many files: each resolved by itself, beside others or from a cache, and the results put together.

What comes out is what `check` finds when it goes through the files one after the other: the same devices and points in
the same order, the same problems. Files that need others (a device named in another file, a name that occurs twice) are
resolved again where all others are known; where even that would not be the same, `UnforeseenError` says so, and the
caller goes through all of them together.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from twin_gateway.mapping.cache import ResultCache
from twin_gateway.mapping.model import Mapping as Mapped
from twin_gateway.mapping.one_file import Around, FileResult, UnforeseenError
from twin_gateway.mapping.read import Map, Source, TooManyProblemsError, read_file
from twin_gateway.mapping.sections import top
from twin_gateway.mapping.seen import Seen
from twin_gateway.mapping.template import Templates
from twin_gateway.mapping.together import Together
from twin_gateway.mapping.workers import WorkerError, resolve_beside, resolve_here

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Told how many files of how many are done."""

WORTH: Final = 40_000
"""Points from which on further processes are worth their start."""
_SHARE: Final = 10_000
"""Points for which one of them is started: each takes time and some 100 MB, however many cores there are."""
KEPT: Final = 5_000
"""Points from which on results are kept: fewer are sooner resolved again than looked for."""


def check_many(
    seen: Sequence[Seen],
    environ: Mapping[str, str],
    *,
    secrets_required: bool,
    whole: bool,
    processes: int,
    cache: ResultCache | None = None,
    progress: Progress | None = None,
) -> tuple[Mapped, list[Source]]:
    """The mapping of files that a first look was taken at, and the sources with their problems.

    Args:
        seen: of `look`, in the order of the files.
        environ: as of `check`; so are `secrets_required` and `progress`.
        secrets_required: whether a missing secret is an error.
        whole: whether all that was named could be found.
        processes: how many to use at most; 1 or less: only this one.
        cache: where results are kept.
        progress: told after each file.

    Raises:
        UnforeseenError: the files must be gone through together.
    """
    sources = [Source(str(item.task.path), item.task.path, beside=item.task.beside) for item in seen]
    templates = Templates()
    templates.complete = whole
    shared = _read_templates(seen, sources, templates)
    around = Around(templates, {source.name: source for source in shared}, dict(environ), secrets_required)
    found: dict[int, FileResult] = {}
    if cache is not None:
        cache.begin(around)
        found = {item.task.index: kept for item in seen if (kept := cache.load(item, around)) is not None}
    open_ = [item for item in seen if item.task.index not in found]
    for index, result in _resolved(open_, around, processes):
        found[index] = result
        if cache is not None:
            cache.keep(seen[index], result)
        if progress is not None:
            progress(len(found), len(seen))
    if cache is not None and open_:
        cache.tidy()
    results = [found[index] for index in range(len(seen))]
    names = frozenset(source.name for source in shared)
    together = Together(sources, results, templates, names, environ, secrets_required)
    return together.mapping(), together.sources


def _read_templates(seen: Sequence[Seen], sources: list[Source], templates: Templates) -> list[Source]:
    """The files that hold templates; their own devices are left to those that resolve them."""
    shared = []
    for item in seen:
        if not item.templates:
            continue
        index = item.task.index
        sources[index] = source = read_file(item.task.path, sources[index].name)
        source.beside = item.task.beside
        if source.digest != item.digest:
            raise UnforeseenError(source.name)
        shared.append(source)
        templates.complete = templates.complete and source.root is not None
    for source in shared:
        with suppress(TooManyProblemsError):
            top(source, templates)
        # Nothing of it is needed any more: templates know their sections.
        source.root = None if source.root is None else Map()
    with suppress(TooManyProblemsError):
        templates.close()
    if any(source.given_up for source in shared):
        templates.complete = False
    return shared


def _resolved(items: Sequence[Seen], around: Around, processes: int) -> Iterator[tuple[int, FileResult]]:
    if not items:
        return
    tasks, common = [item.task for item in items], pickle.dumps(around, protocol=pickle.HIGHEST_PROTOCOL)
    points = sum(item.points for item in items)
    count = min(processes, len(tasks), points // _SHARE)
    if count > 1 and points >= WORTH:
        try:
            yield from resolve_beside(common, tasks, count)
        except WorkerError as error:
            log.warning("mapping files are checked in one process, which takes longer: %s", error)
            raise UnforeseenError(str(error)) from error
    else:
        yield from resolve_here(common, tasks)
