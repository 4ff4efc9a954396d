"""Fields of a file's text are given other values: what comes out says just that, or nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_gateway.engineering.merge import checked
from twin_gateway.engineering.text_edit import EditError, FileText

LAYOUTS = {
    "one line in braces": "a: {x: 1, y: 2}\n",
    "a comma at the end": "a: {x: 1,}\n",
    "nothing in braces": "a: {}\n",
    "braces over several lines": "a: {x: 1,\n    y: 2   # c\n   }\n",
    "a text over lines in braces": "a: {x: long\n   text, y: 2}\n",
    "a quoted text over lines": "a: {x: 'long\n   text', y: 2}\n",
    "a list over lines in braces": "a: {x: [1,\n  2], y: 2}\n",
    "a text over lines": "a:\n  x: long\n    text\n  y: 1\n",
    "a folded text": "a:\n  x: >\n    long text\n    more\n  y: 1\n",
    "no value": "a:\n  x:\n  y: 1\n",
    "no value in braces": "a: {x: , y: 2}\n",
    "no colon in braces": "a: {x, y: 2}\n",
    "a list of lines": "a:\n  x:\n    - 1\n    - 2\n  y: 1\n",
    "a brace in a text": "a:\n  x: a}b\n  y: 1\n",
    "marks in texts": "a: {x: 'a # b', y: it's, z2: b:c}\n",
    "line ends of Windows": "a: {x: 1, y: 2}\r\nb: 2\r\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_change_says_what_is_wanted_or_is_refused(layout: str) -> None:
    done = 0
    for name, value in (("x", "new"), ("z", 5), ("x", None), ("y", 7)):
        file = FileText(LAYOUTS[layout])
        fields = file.root["a"]
        wanted = {key: item for key, item in {**fields, name: value}.items() if item is not None or key != name}
        try:
            file.change([(fields, name, value)])
        except EditError:
            assert file.text == LAYOUTS[layout].replace("\r\n", "\n")
            continue
        done += 1
        assert file.root["a"] == wanted, (name, value)
        assert FileText(file.whole).root == file.root
    assert done, "no change is possible"


def test_line_ends_stay_as_the_file_has_them() -> None:
    file = FileText("a: {x: 1}\r\n# said\r\nb: 2\r\n")
    file.change([(file.root["a"], "x", 3)])
    assert file.whole == "a: {x: 3}\r\n# said\r\nb: 2\r\n"


HEAD = "mapping: 1\ngrid: g\nplace: north/PS01\n"
DEVICE = "  {name}:\n    protocol: iec104\n    host: 10.0.0.1\n    common_address: {station}\n    at:\n"


def test_what_is_wrong_only_with_a_file_beside_is_told(tmp_path: Path) -> None:
    """A text that needs the templates of its folder, in which another file is broken."""
    (tmp_path / "templates").mkdir()
    template = "templates:\n  t:\n    protocol: iec104\n    points:\n      MMXU1/Hz: {ioa: 2, type: M_ME_TF_1}\n"
    (tmp_path / "templates" / "t.yaml").write_text(HEAD + template, "utf-8")
    text = HEAD + "devices:\n" + DEVICE.format(name="r1", station=1) + "      MV1/F01:\n        use: t\n"
    path = tmp_path / "ps01.yaml"
    path.write_text(text, "utf-8")
    mapping, problems = checked(path, text)
    assert mapping is not None and not problems
    (tmp_path / "broken.yaml").write_text(HEAD + "devices: [\n", "utf-8")
    mapping, problems = checked(path, text)
    assert mapping is None
    assert {Path(problem.file).name for problem in problems} == {"broken.yaml"}
