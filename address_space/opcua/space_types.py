"""Types of the grid's nodes: which of our types, of DI's or of the standard's a node has, by its address alone."""

from __future__ import annotations

from address_space.catalogue import VariableKind

STANDARD_VARIABLE_TYPES = {
    VariableKind.TWO_STATE: 2373,
    VariableKind.MULTI_STATE: 11238,
    VariableKind.ANALOG: 17497,
    VariableKind.BASE_ANALOG: 15318,
    VariableKind.DATA: 63,
}
"""NodeIds (namespace 0) of the VariableTypes that ours are derived from."""
