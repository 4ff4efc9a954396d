"""Names of GOOSE streams on an interface that other processes use too: nobody else sends or hears these."""

from __future__ import annotations

import os

BLOCK = f"gcb{os.getpid()}"
"""Name of a control block of this process."""


def address(number: int = 0) -> str:
    """A multicast address of this process, `01:0c:cd:…`; it has eight of them."""
    return "01:0c:cd:" + ((os.getpid() << 3 | number) & 0xFF_FFFF).to_bytes(3, "big").hex(":")
