"""Keeps the pauses of the garbage collector short: what stays is not looked at again and again.

A full collection looks at every object that may be part of a cycle; with a hundred thousand points these are millions,
and the event loop waits for tenths of a second. What has been built by the start stays for good, and is put aside
(`gc.freeze`); so is what has come to stay since, whenever it has become much. Objects that are put aside are still
freed when nothing refers to them any more; only cycles among them are not found, which is why little is never put aside:
connections and sessions come and go.
"""

from __future__ import annotations

import gc

MUCH = 50_000
"""Objects that survive a collection, and are put aside: looking at them takes about five milliseconds."""
_OLDEST = 2


def settle() -> None:
    """Put aside what there is, and from now on what becomes much; to be called once everything has been built."""
    gc.collect()
    gc.freeze()
    # Of nothing: the collector waits with a full collection until a quarter of what it saw in the last one has come.
    gc.collect()
    if _put_aside not in gc.callbacks:
        gc.callbacks.append(_put_aside)


def unsettle() -> None:
    """The usual ways of the collector."""
    if _put_aside in gc.callbacks:
        gc.callbacks.remove(_put_aside)
    gc.unfreeze()


def _put_aside(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == _OLDEST and len(gc.get_objects(generation=_OLDEST)) > MUCH:
        gc.freeze()
