"""Mapping files in one form: keys in a stable order, two spaces a level, comments kept, the meaning unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from twin_gateway.engineering import order
from twin_gateway.engineering.layout import Branch, Document, Entry, LayoutError, Node, Scalar, read_layout
from twin_gateway.mapping.problem import Problem
from twin_gateway.mapping.read import Map, Seq, Source, read_file, read_text

WIDTH: Final = 128
"""Lines in braces are broken where they would be longer."""


class NotTidiedError(ValueError):
    """The text is left as it is; `problems` say why, each with file and line."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def tidy_file(path: Path) -> tuple[str, str]:
    """A file's text as it is, and in its one form.

    Raises:
        NotTidiedError: it cannot be read as a mapping file, or holds a form that is not laid out.
    """
    source = read_file(path)
    _readable(source)
    before = source.text.replace("\r\n", "\n")
    after = _laid_out(before, source)
    raw = path.read_bytes().decode("utf-8")
    return raw, after


def tidy(text: str, name: str = "text") -> str:
    """A text in its one form; the same text again for one that has it.

    Raises:
        NotTidiedError: it cannot be read as a mapping file, or holds a form that is not laid out.
    """
    source = read_text(text, Source(name, Path(name)))
    _readable(source)
    return _laid_out(source.text.replace("\r\n", "\n"), source)


def _readable(source: Source) -> None:
    errors = [problem for problem in source.problems if problem.severity == "error"]
    if errors or source.root is None:
        raise NotTidiedError(errors)


def _laid_out(text: str, source: Source) -> str:
    try:
        document = read_layout(text)
    except LayoutError as error:
        line, col = source.where(error.offset)
        raise NotTidiedError([Problem(source.name, line, col, "TG105", str(error))]) from error
    _sort(document)
    after = "\n".join(_emit(document)) + "\n"
    # Whatever the layout did not understand, it must not change: then the file stays as it is.
    again = read_text(after, Source(source.name, source.path))
    if again.problems or not _same(source.root, again.root) or document.comments != read_layout(after).comments:
        what = "the text has a form that is not laid out, and is left as it is"
        raise NotTidiedError([Problem(source.name, 1, 1, "TG105", what, "write one key a line")])
    return after


def _same(left: object, right: object) -> bool:
    """Whether two contents are the same, but for the order of keys."""
    if isinstance(left, Map):
        return isinstance(right, Map) and left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(left, Seq):
        return isinstance(right, Seq) and len(left) == len(right) and all(map(_same, left, right))
    return type(left) is type(right) and (left == right or str(left) == str(right))


# ---- order


def _sort(document: Document) -> None:
    root = document.root
    _arrange(root, order.TOP)
    for entry in root.entries:
        if not isinstance(entry.value, Branch):
            continue
        for section in entry.value.entries:
            if isinstance(section.value, Branch) and section.value.mapping:
                if entry.name == "templates":
                    _arrange(section.value, order.TEMPLATE)
                elif entry.name == "devices":
                    _arrange(section.value, order.DEVICE_FIRST, order.DEVICE_LAST)
                _section(section.value)


def _protocol(section: Branch) -> str:
    found = next((entry.value for entry in section.entries if entry.name == "protocol"), None)
    return found.raw.strip("\"'") if isinstance(found, Scalar) else ""


def _section(section: Branch) -> None:
    """The places and points of a template or device."""
    name = _protocol(section)
    for entry in section.entries:
        if not isinstance(entry.value, Branch):
            continue
        if entry.name == "points":
            _points(entry.value, name)
        elif entry.name == "at":
            for place in entry.value.entries:
                if isinstance(place.value, Branch):
                    _arrange(place.value, order.PLACE)
                    for part in place.value.entries:
                        if part.name == "points" and isinstance(part.value, Branch):
                            _points(part.value, name)


def _points(points: Branch, name: str) -> None:
    for entry in points.entries:
        if not isinstance(entry.value, Branch):
            continue
        lines = [entry.value] if entry.value.mapping else [item.value for item in entry.value.entries]
        for line in lines:
            if isinstance(line, Branch) and line.mapping:
                _arrange(line, order.point(name))
                for part in line.entries:
                    if part.name in ("control", "alarm") and isinstance(part.value, Branch):
                        _arrange(part.value, order.control(name) if part.name == "control" else order.ALARM)


def _arrange(branch: Branch, first: order.Order, last: order.Order = ()) -> None:
    """Known keys in their order, first and last; those between keep theirs."""
    if not branch.mapping or branch.raw:
        return
    rank = {key: number - len(first) for number, key in enumerate(first)}
    rank |= {key: number + 1 for number, key in enumerate(last)}
    branch.entries.sort(key=lambda entry: rank.get(entry.name, 0))


# ---- text


def _emit(document: Document) -> Iterator[str]:
    lines = [*_block(document.root, 0), *_own(document.tail, 0)]
    before, blank = "", False
    for line in lines:
        # One blank line at most; none at the beginning, at the end, or below a key that opens a block.
        if not line:
            blank = bool(before) and not _opens(before)
            continue
        if blank:
            yield ""
        yield line
        before, blank = line, False


def _opens(line: str) -> bool:
    return line.partition(" #")[0].rstrip().endswith(":") and not line.lstrip().startswith("#")


def _own(comments: list[str], indent: int) -> Iterator[str]:
    for text in comments:
        yield " " * indent + text if text else ""


def _block(branch: Branch, indent: int) -> Iterator[str]:
    for entry in branch.entries:
        yield from _own(entry.before, indent)
        yield from (_keyed if branch.mapping else _item)(entry, indent)
    yield from _own(branch.tail, indent)


def _keyed(entry: Entry, indent: int) -> Iterator[str]:
    value, key = entry.value, " " * indent + entry.key + ":"
    shift = indent - entry.indent
    if isinstance(value, Branch) and not value.flow:
        yield _with_comment(key, entry.header, entry.header_column + shift)
        yield from _block(value, indent + 2)
        return
    text = _flow(value)
    one = f"{key}{' ' * entry.gap}{text}" if text else key
    fits = len(one) <= WIDTH or isinstance(value, Scalar)
    if entry.gap and fits and "\n" not in text:
        yield _with_comment(one, entry.comment, entry.column + shift)
        return
    yield _with_comment(key, entry.header, entry.header_column + shift)
    yield from _own(entry.between, indent + 2)
    *above, last = _broken(value, indent + 2)
    yield from above
    yield _with_comment(last, entry.comment, 0 if above else entry.column + shift)


def _item(entry: Entry, indent: int) -> Iterator[str]:
    value, dash = entry.value, " " * indent + "- "
    if not isinstance(value, Branch) or value.flow:
        *above, last = _broken(value, indent + 2)
        lines = [*above, _with_comment(last, entry.comment, entry.column + indent + 2 - entry.indent)]
        yield from _own([*([entry.header] if entry.header else []), *entry.between], indent)
    else:
        if entry.header:
            yield " " * indent + entry.header
        first = value.entries[0]
        yield from _own(first.before, indent)
        first.before = []
        lines = list(_block(value, indent + 2))
    yield dash + lines[0][indent + 2 :]
    yield from lines[1:]


def _with_comment(line: str, comment: str, column: int) -> str:
    """A comment moves with its line, and further only where there is no room."""
    return f"{line:<{max(column, len(line) + 2)}}{comment}" if comment else line.rstrip()


def _flow(node: Node) -> str:
    """A scalar or flow on one line; a flow with comments as it was."""
    if isinstance(node, Scalar):
        return " ".join(line.strip() for line in node.raw.split("\n"))
    if node.raw:
        return node.raw
    parts = [_member(entry) for entry in node.entries]
    return ("{%s}" if node.mapping else "[%s]") % ", ".join(parts)


def _member(entry: Entry) -> str:
    text = _flow(entry.value) or "null"
    return f"{entry.key}: {text}" if entry.key else text


def _broken(node: Node, indent: int) -> list[str]:
    """A value on lines of its own, broken between members where it is too long."""
    pad = " " * indent
    if isinstance(node, Branch) and node.raw:
        first, *rest = node.raw.split("\n")
        return [pad + first, *(f"{pad} {line.strip()}" for line in rest)]
    return _wrapped(node, pad, "")


def _wrapped(node: Node, prefix: str, suffix: str) -> list[str]:
    """Lines of a value behind a prefix; members below the first stand under it."""
    text = _flow(node)
    if isinstance(node, Scalar) or not node.entries or len(prefix + text + suffix) <= WIDTH:
        return [prefix + text + suffix]
    lines: list[str] = []
    pad = " " * (len(prefix) + 1)
    now, space = prefix + text[0], ""
    for number, entry in enumerate(node.entries):
        part = _member(entry)
        end = "," if number + 1 < len(node.entries) else text[-1] + suffix
        if space and len(now + space + part + end) > WIDTH:
            lines.append(now)
            now, space = pad, ""
        if len(now + space + part + end) <= WIDTH:
            now += space + part + end
        else:
            *above, now = _wrapped(entry.value, f"{now}{entry.key}: " if entry.key else now, end)
            lines += above
        space = " "
    return [*lines, now]
