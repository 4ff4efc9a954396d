"""A client of the control port of a simulated field: one injection, one answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

DEFAULT_PORT = 14_999
"""Where the demo's field listens."""
_ANSWER_S = 10.0
_LINE = 1 << 20


class InjectingError(RuntimeError):
    """The field cannot be reached or refuses; the message says why."""


async def inject(order: Mapping[str, Any], *, host: str = "127.0.0.1", port: int = DEFAULT_PORT) -> dict[str, Any]:
    """Send one order to the field; the members of its answer.

    Args:
        order: `do` and what belongs to it, as `twin-gateway inject` sends it.
        host: of the field, loopback.
        port: of its control port.

    Raises:
        InjectingError: nobody listens there, the field does not answer within 10 s, or it refuses.
    """
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port, limit=_LINE)
            try:
                writer.write((json.dumps(dict(order)) + "\n").encode())
                await writer.drain()
                raw = await reader.readline()
            finally:
                writer.close()
    except TimeoutError as error:
        raise InjectingError(f"the field at {host}:{port} does not answer") from error
    except (OSError, ValueError) as error:
        raise InjectingError(f"there is no field at {host}:{port} ({error}); is the demo running?") from error
    try:
        answer = json.loads(raw)
    except ValueError as error:
        raise InjectingError(f"what listens at {host}:{port} is no control port of a field") from error
    if not isinstance(answer, dict) or not answer.pop("ok", False):
        raise InjectingError(str(answer.get("error", "refused")) if isinstance(answer, dict) else "refused")
    return answer
