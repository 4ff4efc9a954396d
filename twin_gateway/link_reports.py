"""What the control socket tells of links: state, last errors, capture rings, and what came and no point takes."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from address_space import clock
from twin_gateway.control import ControlError, Handler
from twin_gateway.drivers.capture import pcapng
from twin_gateway.drivers.contract import Stray, StrayKeepingDriver, StrayReadingDriver
from twin_gateway.drivers.link import LinkState, LinkSupervisor
from twin_gateway.mapping.problem import did_you_mean
from twin_gateway.unmapped import as_document

MOST_UNMAPPED: Final = 2000
"""Strays that one answer lists, over all links."""
_READING_S: Final = 20.0


class StrayKeeper(Protocol):
    """A part of the gateway that is no link and keeps strays: the resource directory."""

    @property
    def unmapped_dropped(self) -> int:
        """How much found no room."""
        ...

    def unmapped(self) -> Sequence[Stray]:
        """What nobody has mapped, newest last."""
        ...


class LinkReports:
    """Answers `links`, `capture` and `unmapped`.

    Args:
        links: all of the gateway.
        protocols: gives the protocol of each, by name.
        others: what keeps strays beside links: (name, protocol) -> keeper.
    """

    def __init__(
        self,
        links: Sequence[LinkSupervisor],
        protocols: Callable[[], Mapping[str, str]],
        others: Mapping[tuple[str, str], StrayKeeper] | None = None,
    ) -> None:
        self._links = links
        self._protocols = protocols
        self._others = others or {}

    @property
    def handlers(self) -> dict[str, Handler]:
        """What can be asked."""
        return {"links": self._tell, "capture": self._capture, "unmapped": self._unmapped}

    async def _tell(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        links, protocols = list(self._links) if asked.get("link") is None else [self._link(asked)], self._protocols()
        told: list[dict[str, Any]] = []
        for link in links:
            told.append(self._of(link, protocols.get(link.name, ""), whole=asked.get("link") is not None))
            await asyncio.sleep(0)  # thousands of links have their turns
        return told

    def _of(self, link: LinkSupervisor, protocol: str, *, whole: bool) -> dict[str, Any]:
        errors = [
            {"address": address, "time": clock.iso(at), "text": text}
            for address, (at, text) in reversed(link.last_errors.items())
        ]
        return {
            "link": link.name,
            "protocol": protocol,
            "state": str(link.state),
            "since": clock.iso(link.last_change),
            "reason": link.reason,
            "flapping": link.flapping,
            "counters": dict(sorted(link.counters.items())),
            "errors": errors if whole else len(errors),
        }

    async def _capture(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        link = self._link(asked)
        records = link.ring.records()
        return {
            "file": base64.b64encode(pcapng(link.name, records)).decode(),
            "records": len(records),
            "dropped": link.ring.dropped,
            "ports": sorted({record.flow.remote[1] for record in records}),
            "protocol": self._protocols().get(link.name, ""),
        }

    async def _unmapped(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Of each link with strays, or of the one that is named: the newest, and how many are left out."""
        name, room, not_asked = asked.get("link"), MOST_UNMAPPED, ""
        found: list[dict[str, Any]] = []
        protocols = self._protocols()
        keepers = [(key, keeper) for key, keeper in self._others.items() if name in (None, key[0])]
        if name is None or not keepers:
            for link in self._links if name is None else [self._link(asked)]:
                if isinstance(link.driver, StrayKeepingDriver):
                    keepers.append(((link.name, protocols.get(link.name, "")), link.driver))
                    if name is not None and isinstance(link.driver, StrayReadingDriver):
                        not_asked = await _read(link, link.driver)
                elif name is not None:
                    raise ControlError(f"the protocol of link {link.name} keeps no list of what is not mapped")
        for (of, protocol), keeper in keepers:
            strays = keeper.unmapped()
            if not strays and name is None:
                continue
            listed = strays[max(len(strays) - room, 0) :]
            room -= len(listed)
            found.append(
                {
                    "link": of,
                    "protocol": protocol,
                    "strays": [as_document(stray) for stray in listed],
                    "left_out": len(strays) - len(listed),
                    "dropped": keeper.unmapped_dropped,
                    "not_asked": not_asked,
                }
            )
            await asyncio.sleep(0)  # thousands of links have their turns
        return found

    def _link(self, asked: Mapping[str, Any]) -> LinkSupervisor:
        name = asked.get("link")
        for link in self._links:
            if link.name == name:
                return link
        hint = did_you_mean(str(name), [link.name for link in self._links])
        raise ControlError(f"there is no link {name!r}" + (f"; {hint}" if hint else ""))


async def _read(link: LinkSupervisor, driver: StrayReadingDriver) -> str:
    """Bring the list up to date where the device has to be asked; why it could not be, else empty."""
    if link.state is not LinkState.UP:
        return f"the link is {link.state}: {link.reason}".rstrip(": ")
    try:
        async with asyncio.timeout(_READING_S):
            await driver.read_unmapped()
    except (OSError, TimeoutError) as error:
        return str(error) or "no answer in time"
    return ""
