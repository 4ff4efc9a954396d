"""Problems found in mapping files and grid models: what they are, where they are, and the tables of their codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning"]
_LONGEST_WORD: Final = 100

CODES: dict[str, str] = {
    # TG1nn: the file and its YAML
    "TG101": "The file cannot be opened: it is missing, a directory, or not readable for this user.",
    "TG102": "The file is larger than the limit; nothing of it was read.",
    "TG103": "The file is not text in UTF-8.",
    "TG104": "The file is empty or holds nothing but comments.",
    "TG105": "The text is not YAML; reading stopped here.",
    "TG106": "A key occurs twice in the same mapping; the second one is ignored.",
    "TG107": "Anchors, aliases and merge keys are not part of the format; use a template.",
    "TG108": "YAML tags (!name) are not part of the format.",
    "TG109": "The nesting is deeper, or the values are more, than any mapping file needs.",
    "TG110": "A key must be plain text on one line.",
    "TG111": "A file holds one YAML document.",
    "TG112": "So many problems in one file that the rest is left out.",
    # TG2nn: the shape of the file
    "TG201": "A key that the format does not know at this place.",
    "TG202": "A key that is needed is missing.",
    "TG203": "A value of the wrong kind: text, number, list or mapping expected.",
    "TG204": "A value that is not one of the allowed ones.",
    "TG205": "The version of the format is not 1.",
    "TG206": "A value outside its range.",
    "TG207": "A text that does not have the form its field asks for.",
    # TG3nn: templates, braces, ranges, parameters
    "TG301": "No template of this name in any file of the check.",
    "TG302": "A parameter that the template does not have.",
    "TG303": "A parameter of the template is not given.",
    "TG304": "A parameter has the wrong type.",
    "TG305": "Templates use each other in a circle.",
    "TG306": "A template for one protocol is used by a device of another.",
    "TG307": "A name in {…} that is no parameter of the template, or arithmetic that cannot be computed.",
    "TG308": "Braces or a range count differently on the two sides of a line.",
    "TG309": "A range or a brace list cannot be read, or counts too many.",
    "TG310": "null drops a point that the template does not have.",
    "TG311": "Two templates of one name in the files of the check.",
    # TG4nn: addresses
    "TG401": "A segment of the address has a form that is not allowed.",
    "TG402": "The address has too few or too many levels.",
    "TG403": "It is not clear where the place ends; write the missing levels as _.",
    "TG404": "The address does not end in a data object (function/data object).",
    "TG405": "The catalogue does not know the function or its data object.",
    "TG406": "The address is mapped twice.",
    "TG407": "Two addresses differ only in upper and lower case.",
    "TG408": "Two addresses have the same browse path.",
    "TG409": "The data object has parts (phases) that must be named one by one.",
    "TG410": "The address is retired; addresses are not used again.",
    "TG411": "The former address is still mapped.",
    "TG412": "The former address is not of the same kind or level as what it stands at.",
    "TG413": "The time of a former address is over.",
    # TG5nn: points
    "TG501": "The protocol's type cannot carry the data object's kind of value.",
    "TG502": "The unit is not known.",
    "TG503": "The unit does not fit the quantity of the data object.",
    "TG504": "The text is not a number with a unit.",
    "TG505": "The duration cannot be read.",
    "TG506": "The protocol point is bound to two addresses without share: true.",
    "TG507": "Two addresses have the same command binding.",
    "TG508": "The data object cannot be commanded.",
    "TG509": "The field makes no sense for this kind of value.",
    "TG510": "The bindings of one address do not fit together.",
    "TG511": "The alias cannot be read, or its scheme is not known.",
    "TG512": "One alias stands for two addresses.",
    "TG513": "The fields of an alarm rule do not fit together.",
    "TG514": "The point that an alarm rule compares with is not there, or is of another kind.",
    # TG6nn: devices
    "TG601": "No driver for this protocol.",
    "TG602": "Two devices have one name.",
    "TG603": "A secret stands in the file itself.",
    "TG604": "The environment variable or file of a secret is missing.",
    "TG605": "A field of the device is not right.",
    "TG606": "The device has no points.",
    "TG607": "A file of the device is missing, or the SCL file does not hold what the mapping asks for.",
    "TG608": "No device of this name in any file of the check.",
    "TG609": "Some data objects of a whole model are not in the catalogue and give no points.",
}
"""Every code of a mapping file with the sentence that documents it."""

GRID_CODES: dict[str, str] = {
    # TG7nn: grid models
    "TG701": "Conducting equipment of a class that the grid model does not have.",
    "TG702": "The class of the equipment has another number of terminals.",
    "TG703": "An address occurs twice in the grid model, or two differ only in upper and lower case.",
    "TG704": "Nothing of this address in the grid model, or it is of another class than asked for.",
    "TG705": "The nominal voltage of a connectivity node is not known, or known twice.",
    "TG706": "A line or a switch joins nodes of different nominal voltage, or a transformer does not fit its nodes.",
    "TG707": "A part of the grid that no source can feed, whatever the switches.",
    "TG708": "No type of this name, or two of one name.",
    "TG709": "A value per length without a length.",
    "TG710": "What the measured point tells of its terminal does not follow from its address.",
    "TG711": "The phases do not fit: unknown letters, or another number of values.",
    # TG72n: CIM RDF/XML
    "TG721": "The text is not XML; reading stopped here.",
    "TG722": "The file has a document type declaration or entities, which are not read.",
    "TG723": "The file is larger, deeper or has more objects than the limit.",
    "TG724": "The XML is not CIM in RDF form.",
    "TG725": "An object of the CIM file lacks what its class needs, or refers to an object that is not in the file.",
    "TG726": "Objects of the CIM file that have no place in the grid model and were left out.",
    "TG727": "Something of the CIM file was taken in a simplified form.",
}
"""Every code of a grid model, on top of `CODES`."""

LIST_CODES: dict[str, str] = {
    # TG80n: point lists
    "TG801": "The file cannot be read as a table.",
    "TG802": "The column map is not right, or does not fit the list.",
    "TG803": "A cell that is needed is empty.",
    "TG804": "The cell does not hold what its column asks for.",
    "TG805": "A spreadsheet program has changed the cell: the value is lost.",
    "TG806": "A row was left out.",
    "TG807": "A command that belongs to no point.",
}
"""Every code of a point list, on top of `CODES`."""

SCL_CODES: dict[str, str] = {
    "TG731": "The text is not XML, or not SCL of a known edition; reading stopped here.",
    "TG732": "Something of the SCL file is missing, occurs twice, or refers to what is not in the file.",
    "TG733": "The file has a document type declaration or entities, which are not read.",
    "TG734": "The SCL file is larger or deeper than the limit, or unfolds to more than it.",
    "TG735": "Data of the SCL file that no point can be made of, or not at the place it says.",
    "TG736": "The existing mapping file and what is imported do not agree.",
}
"""Codes of the import of SCL files."""


ADVICE: Final[dict[str, str]] = {
    "TG103": "save it as text in UTF-8",
    "TG105": "look at braces, quotes and indentation here and in the line above",
    "TG109": "say repeated points in a template",
    "TG201": "take it out, or correct its spelling",
    "TG202": "add it",
    "TG203": "give a value of that kind",
    "TG204": "take one of these",
    "TG205": "write 'mapping: 1'",
    "TG206": "give a value inside its range",
    "TG207": "write it in that form, or take it out",
    "TG301": "name the file that has it in the check too",
    "TG303": "give it under 'with'",
    "TG304": "give a value of its type",
    "TG305": "take one 'use' out of the circle",
    "TG306": "use a template of the device's own protocol",
    "TG307": "parameters of the template, numbers and + - * ( ) can stand in braces",
    "TG308": "both sides of a line count the same",
    "TG309": "as in {1..8} or {A,B,C}, at most 10000 points a line",
    "TG401": "1 to 48 characters of A-Z a-z 0-9 _ -, others as ~HH",
    "TG402": "area/site in 'place', voltage level/bay/equipment in the key of 'at', then the point",
    "TG404": "name a data object, as in QA1/XCBR1/Pos",
    "TG405": "classes and data objects are those of IEC 61850-7-4",
    "TG501": "correct the type, or name the data object that it is",
    "TG502": "as in kW, A, kV, Cel or %",
    "TG504": "a number and a unit, as in 5 kW",
    "TG505": "as in 500 ms, 15 min or 1 d",
    "TG508": "take 'control' out, or name the data object that is commanded, as in QA1/CSWI1/Pos",
    "TG509": "take the field out",
    "TG510": "one binding to read, with backups beside it, and one to command",
    "TG511": "take it out, or write it as its scheme asks",
    "TG513": "limits in their order, normal states, or a target: one of the three",
    "TG514": "name another point, of the same kind and unit",
    "TG604": "make it known where the gateway runs",
    "TG605": "give it, or correct it: the page of the protocol lists its fields",
    "TG607": "paths are relative to this file, references are those of the SCL file",
}
"""What to do where the hint of a problem does not say it."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding in one file. `line` and `col` count from 1; 0 means the file as a whole."""

    file: str
    line: int
    col: int
    code: str
    message: str
    hint: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        """The line compilers print, so that editors can jump to it."""
        todo = self.todo
        tail = f" ({todo})" if todo else ""
        return f"{self.file}:{self.line}:{self.col}: {self.severity} {self.code}: {self.message}{tail}"

    @property
    def todo(self) -> str:
        """What to do: the hint, or what holds for every problem of the code; empty where the message says it."""
        return self.hint or (ADVICE.get(self.code, "") if self.severity == "error" else "")

    def as_json(self) -> dict[str, object]:
        """The same as plain data, with the sentence of the code in `about`."""
        return {
            "file": self.file,
            "line": self.line,
            "col": self.col,
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "hint": self.todo,
            "about": (CODES | GRID_CODES | LIST_CODES | SCL_CODES)[self.code],
        }


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for the nearest known word, or an empty text."""
    found = nearest(word, known)
    return f"did you mean '{found}'?" if found is not None else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The nearest known word by edit distance, None when none is near.

    Two edits in five letters count as near; of equally near words the first in order wins.
    """
    if len(word) > _LONGEST_WORD:
        return None
    best: tuple[int, str] | None = None
    limit = max(1, round(len(word) * 0.4))
    for other in sorted(known):
        if abs(len(other) - len(word)) > limit:
            continue
        distance = edit_distance(word.lower(), other.lower(), limit)
        if distance <= limit and (best is None or distance < best[0]):
            best = (distance, other)
    return best[1] if best is not None else None


def edit_distance(left: str, right: str, limit: int) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours between two words; `limit + 1` if more."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        now = [i]
        for j, b in enumerate(right, 1):
            cost = min(row[j] + 1, now[j - 1] + 1, row[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and b == left[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            now.append(cost)
        if min(now) > limit:
            return limit + 1
        before, row = row, now
    return row[-1]
