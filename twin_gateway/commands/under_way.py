"""Commands between the gates and their outcome: who changes what they are about waits for them, and they for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator

from address_space.addcause import AddCause
from address_space.ports import Outcome
from address_space.quality import StatusCode


class UnderWay:
    """Which data objects and links have a command under way, and which are being changed."""

    def __init__(self) -> None:
        self._commands: dict[str, tuple[str, str]] = {}
        self._held: list[tuple[Collection[str], Collection[str]]] = []
        self._changed: list[asyncio.Future[None]] = []

    @contextlib.contextmanager
    def sending(self, command_id: str, address: str, link: str) -> Iterator[None]:
        """A command is with the device until this is left."""
        self._commands[command_id] = address, link
        try:
            yield
        finally:
            del self._commands[command_id]
            self._wake()

    @contextlib.contextmanager
    def holding(self, addresses: Collection[str], links: Collection[str]) -> Iterator[None]:
        """No command leaves for these data objects, or over these links, until this is left."""
        held = (addresses, links)
        self._held.append(held)
        try:
            yield
        finally:
            self._held.remove(held)
            self._wake()

    def refusal(self, address: str, link: str, same: bool) -> Outcome | None:
        """Why a command cannot leave now; None when it can: while its target is the same as when it was judged."""
        if same and not self._is_held(address, link):
            return None
        text = f"The mapping of {address} is being changed; give the command again"
        return Outcome.refused("mapping", text, StatusCode.BadResourceUnavailable, AddCause.NONE)

    async def free(self, address: str, link: str, seconds: float) -> None:
        """Wait for the end of a change, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._is_held(address, link):
                    await self._change()

    async def over(self, addresses: Collection[str], links: Collection[str], seconds: float | None) -> list[str]:
        """Wait for the outcome of commands that are about these data objects or links; those that have none by then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._about(addresses, links):
                    await self._change()
        return self._about(addresses, links)

    def _about(self, addresses: Collection[str], links: Collection[str]) -> list[str]:
        return [address for address, link in self._commands.values() if address in addresses or link in links]

    def _is_held(self, address: str, link: str) -> bool:
        return any(address in addresses or link in links for addresses, links in self._held)

    async def _change(self) -> None:
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.append(changed)
        await changed

    def _wake(self) -> None:
        changed, self._changed = self._changed, []
        for each in changed:
            if not each.done():
                each.set_result(None)
