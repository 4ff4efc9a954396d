"""Addresses like a text: a beam of the best matches goes down the address tree, segment by segment."""

from __future__ import annotations

from address_space.address import FILLER
from address_space.tree import NO_NODE, AddressTree

_BEAM = 12
_WORST_SEGMENT = 4
_MOST_SIBLINGS = 5_000
_LEVEL_COST = 1


def edit_distance(first: str, second: str, most: int) -> int:
    """Edits (insert, delete, replace, swap two neighbours) from one text to the other; `most + 1` for any more."""
    if first == second:
        return 0
    if abs(len(first) - len(second)) > most:
        return most + 1
    # What both begin and end with costs nothing: siblings' names mostly differ in a digit or two.
    start, end = 0, 0
    shorter = min(len(first), len(second))
    while start < shorter and first[start] == second[start]:
        start += 1
    while end < shorter - start and first[-1 - end] == second[-1 - end]:
        end += 1
    first, second = first[start : len(first) - end], second[start : len(second) - end]
    earlier: list[int] = []
    before = list(range(len(second) + 1))
    for row, char in enumerate(first, 1):
        line = [row]
        for column, other in enumerate(second, 1):
            cost = min(before[column] + 1, line[-1] + 1, before[column - 1] + (char != other))
            if row > 1 and column > 1 and char == second[column - 2] and first[row - 2] == other:
                cost = min(cost, earlier[column - 2] + 1)
            line.append(cost)
        if min(line) > most and min(before) > most:
            return most + 1
        earlier, before = before, line
    return min(before[-1], most + 1)


def nearest_names(tree: AddressTree, text: str, limit: int) -> tuple[str, ...]:
    """At most `limit` addresses of the tree that are like the text, best first.

    A segment may differ in up to four places; a filler too many or too few costs one. Where nothing below is like the
    rest of the text, the place reached so far is the answer.
    """
    beam: list[tuple[int, int, int, str]] = [(0, NO_NODE, 0, "")]
    ended: list[tuple[int, str]] = []
    for segment in text[:512].split("/"):
        following: dict[int, tuple[int, int, int, str]] = {}
        for place in beam:
            steps = _steps(tree, place, segment)
            if not steps and place[1] != NO_NODE:
                ended.append((place[0] + len(segment) + _WORST_SEGMENT, place[3]))
            for step in steps:
                known = following.get(step[1])
                if known is None or step[0] < known[0]:
                    following[step[1]] = step
        beam = sorted(following.values())[:_BEAM]
        if not beam:
            break
    best = sorted([(cost, address) for cost, node, _, address in beam if node != NO_NODE] + ended)
    return tuple(dict.fromkeys(address for _, address in best))[:limit]


def _steps(tree: AddressTree, place: tuple[int, int, int, str], segment: str) -> list[tuple[int, int, int, str]]:
    """Places one segment further: (cost, node, level reached, address)."""
    cost, node, level, address = place
    if segment == FILLER and node != NO_NODE:
        return [(cost, node, level + 1, address)]
    steps = []
    children = tree.roots() if node == NO_NODE else tree.children(node)
    folded = segment.casefold()
    own = int(tree.level[node]) if node != NO_NODE else 0
    for count, child in enumerate(children):
        if count >= _MOST_SIBLINGS:
            break
        name = tree.name(child)
        most = min(_WORST_SEGMENT, max(1, (len(name) + 1) // 2))
        distance = edit_distance(folded, name.casefold(), most)
        if distance > most:
            continue
        reached = int(tree.level[child])
        off = abs(reached - level - 1)
        fillers = reached - own - 1
        text = f"{address}/{(FILLER + '/') * fillers}{name}" if address else name
        steps.append((cost + distance + off * _LEVEL_COST + (name != segment), child, reached, text))
    return sorted(steps)[:_BEAM]
