"""How far a long check has come: a bar on a terminal that goes when it is done; nothing where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def shown_progress(done: str) -> Iterator[Callable[[int, int], None]]:
    """What to tell how many of how many files are done; the bar appears with the first call.

    Args:
        done: what has been done with the files, `checked`.
    """
    if not sys.stderr.isatty():
        yield lambda _files, _of: None
        return
    from rich.console import Console  # noqa: PLC0415 - only long checks on a terminal need it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    with ExitStack() as stack:
        columns = TextColumn("files"), BarColumn(), MofNCompleteColumn(), TextColumn(done), TimeRemainingColumn()
        bar = Progress(*columns, console=Console(stderr=True), transient=True)
        task: list[TaskID] = []

        def tell(files: int, of: int) -> None:
            if not task:
                stack.enter_context(bar)
                task.append(bar.add_task("", total=of))
            bar.update(task[0], completed=files, total=of)

        yield tell
