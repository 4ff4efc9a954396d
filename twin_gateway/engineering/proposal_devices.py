"""From a device that is not known yet to its section in a mapping file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twin_gateway.engineering.draft import DeviceDraft

DEVICES: Final[Mapping[str, Callable[[Mapping[str, Any], set[str]], DeviceDraft]]] = {}
"""By protocol: of a stray and the names that are taken. Raises NotProposedError."""
