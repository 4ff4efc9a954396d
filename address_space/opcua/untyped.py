"""asyncua's protocol classes without its annotations, which claim subclasses of int and str that no call can give."""

from __future__ import annotations

from typing import Any

import asyncua
import asyncua.ua

ua: Any = asyncua.ua
"""The module `asyncua.ua`."""
Server: Any = vars(asyncua)["Server"]
"""asyncua's high-level server."""
