"""The data objects below a place of the address tree."""

from __future__ import annotations

from collections.abc import Iterator

from address_space.address import function_name
from address_space.tree import AddressTree

_EQUIPMENT_LEVEL, _FUNCTION_LEVEL = 6, 7


def data_below(tree: AddressTree, node: int) -> Iterator[tuple[str, int]]:
    """(class and data object as `MMXU/A/phsA`, row) of every point at and below a place of at most level 6."""
    for child in tree.children(node):
        level = int(tree.level[child])
        if level <= _EQUIPMENT_LEVEL:
            yield from data_below(tree, child)
        elif level == _FUNCTION_LEVEL:
            named = function_name(tree.name(child))
            if named is not None:
                yield from _points(tree, child, named.ln_class)


def _points(tree: AddressTree, node: int, head: str) -> Iterator[tuple[str, int]]:
    for child in tree.children(node):
        data = f"{head}/{tree.name(child)}"
        if tree.row[child] >= 0:
            yield data, int(tree.row[child])
        yield from _points(tree, child, data)
