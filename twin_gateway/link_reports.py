"""What the control socket tells of links: their state, last errors, and the octets of their capture rings."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from address_space import clock
from twin_gateway.control import ControlError, Handler
from twin_gateway.drivers.capture import pcapng
from twin_gateway.drivers.link import LinkSupervisor
from twin_gateway.mapping.problem import did_you_mean


class LinkReports:
    """Answers `links` and `capture`.

    Args:
        links: all of the gateway.
        protocols: gives the protocol of each, by name.
    """

    def __init__(self, links: Sequence[LinkSupervisor], protocols: Callable[[], Mapping[str, str]]) -> None:
        self._links = links
        self._protocols = protocols

    @property
    def handlers(self) -> dict[str, Handler]:
        """What can be asked."""
        return {"links": self._tell, "capture": self._capture}

    async def _tell(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        links = self._links if asked.get("link") is None else [self._link(asked)]
        return [self._of(link, whole=asked.get("link") is not None) for link in links]

    def _of(self, link: LinkSupervisor, *, whole: bool) -> dict[str, Any]:
        errors = [
            {"address": address, "time": clock.iso(at), "text": text}
            for address, (at, text) in reversed(link.last_errors.items())
        ]
        return {
            "link": link.name,
            "protocol": self._protocols().get(link.name, ""),
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

    def _link(self, asked: Mapping[str, Any]) -> LinkSupervisor:
        name = asked.get("link")
        for link in self._links:
            if link.name == name:
                return link
        hint = did_you_mean(str(name), [link.name for link in self._links])
        raise ControlError(f"there is no link {name!r}" + (f"; {hint}" if hint else ""))
