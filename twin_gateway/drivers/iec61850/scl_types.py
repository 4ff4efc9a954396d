"""DataTypeTemplates of an SCL file: how many attributes the types unfold to, before anything is built of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import Final

from .scl_xml import MAX_DEPTH, Element

MAX_ATTRIBUTES: Final = 500_000
"""Attributes of all logical nodes of one IED together; a model takes some 3 kB for each."""
MAX_SETTING_GROUPS: Final = 255
"""NumOfSG is an INT8U (IEC 61850-8-1, setting group control block)."""
_OF_BLOCK: Final = 15
"""Attributes of a report control block."""
_GROUPS: Final = 30
"""So many values of setting groups take as much as one attribute."""
_KINDS: Final = {"SDO": "DOType", "DO": "DOType", "DA": "DAType", "BDA": "DAType"}
_PARTS: Final = {"LNodeType": ("DO",), "DOType": ("SDO", "DA"), "DAType": ("BDA",)}

TypeKey = tuple[str, str]
"""Kind and id: `("DOType", "DPC_1")`."""


class TypeFault(Enum):
    """What is wrong with the type of a DO, SDO, DA or BDA."""

    MISSING = auto()
    HOLDS_ITSELF = auto()
    TOO_DEEP = auto()


class TypeSizes:
    """Numbers of attributes; what is wrong with a type is told once, and counts as nothing.

    Elements count whatever their namespace, since models are built of all of them.

    Args:
        types: all types of the file.
        tell: takes what is wrong, the element that names the type, and the type.
    """

    def __init__(self, types: Mapping[TypeKey, Element], tell: Callable[[TypeFault, Element, TypeKey], None]) -> None:
        self.types = types
        self.tell = tell
        self._sizes: dict[TypeKey, int] = {}
        self._open: set[TypeKey] = set()

    def of_device(self, nodes: Iterable[Element]) -> int:
        """Attributes of the LN0 and LN of a logical device, with the report blocks and setting groups that they say."""
        size = blocks = groups = 0
        for node in nodes:
            size += self.of_node(node)
            for child in node.children:
                if child.local == "ReportControl":
                    enabled = (times(item, "max") for item in child.children if item.local == "RptEnabled")
                    blocks += max(enabled, default=1)
                elif child.local == "SettingControl":
                    groups = max(groups, times(child, "numOfSGs"))
        return size + size * groups // _GROUPS + blocks * _OF_BLOCK

    def of_node(self, node: Element) -> int:
        """Attributes that the type of an LN0 or LN unfolds to; 0 when it is not in the file."""
        key = ("LNodeType", node.attributes.get("lnType", ""))
        return self._of_type(key) if key in self.types else 0

    def _of_type(self, key: TypeKey) -> int:
        if key not in self._sizes:
            self._open.add(key)
            parts = _PARTS[key[0]]
            self._sizes[key] = sum(self._of_part(item) for item in self.types[key].children if item.local in parts)
            self._open.discard(key)
        return self._sizes[key]

    def _of_part(self, item: Element) -> int:
        key = (_KINDS[item.local], item.attributes.get("type", ""))
        count = times(item, "count")
        if key[0] == "DAType" and item.get("bType") != "Struct":
            if item.get("bType") == "Enum" and ("EnumType", key[1]) not in self.types:
                self.tell(TypeFault.MISSING, item, ("EnumType", key[1]))
            return count
        fault = (
            TypeFault.HOLDS_ITSELF
            if key in self._open
            else TypeFault.MISSING
            if key not in self.types
            else TypeFault.TOO_DEEP
            if len(self._open) >= MAX_DEPTH and key not in self._sizes
            else None
        )
        if fault is not None:
            self.tell(fault, item, key)
            return 0
        return count * self._of_type(key)


def times(element: Element, attribute: str) -> int:
    """How often something is there; what is no number is told by whoever builds the model."""
    try:
        return max(1, int(element.attributes.get(attribute, "")))
    except ValueError:
        return 1
