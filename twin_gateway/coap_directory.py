"""The resource directory as a part of the gateway: made when it is configured, and what it tells people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

from address_space import clock
from address_space.events import Event, EventJournal
from twin_gateway.drivers.coap.directory_settings import DirectorySettings
from twin_gateway.drivers.contract import Stray

_SHOWN = 20
_LISTED = 50
"""Resources of an endpoint that are listed."""
NAME = ("coap_directory", "coap")
"""What the list of unmapped things calls it, and its protocol."""


class _Listener(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class CoapDirectory:
    """The listener, and who has registered that no mapping names."""

    def __init__(self, listener: _Listener, directory: Any) -> None:
        self._directory = directory
        self.start, self.stop = listener.start, listener.stop

    @property
    def unmapped_dropped(self) -> int:
        """Registrations that found no room."""
        return int(self._directory.turned_away)

    def unmapped(self) -> Sequence[Stray]:
        """Endpoints that no mapping names; those heard last are last."""
        found = []
        for each in sorted(self._directory, key=lambda each: each.heard):
            if self._directory.is_expected(each.name):
                continue
            heard = clock.now() - round((time.monotonic() - each.heard) * clock.TICKS_PER_SECOND)
            links = [{**link.parameters, "target": link.target} for link in each.links[:_LISTED]]
            offers = " ".join(link["target"] for link in links) or "nothing"
            more = f" and {len(each.links) - _LISTED} more" if len(each.links) > _LISTED else ""
            fields = {"endpoint": each.name, "links": links, "lwm2m": "lwm2m" in each.parameters}
            found.append(Stray(fields, "unknown endpoint", 0, 0, heard, about=f"offers {offers}{more}"))
        return found


def make_directory(settings: DirectorySettings, events: EventJournal, place: str) -> CoapDirectory:
    """The listener of the directory; the CoAP stack is imported only now.

    An endpoint that no mapping names is told of in an event, with what it offers, when it registers for the first time.
    """
    directory = import_module("twin_gateway.drivers.coap.directory").DIRECTORY
    listener = import_module("twin_gateway.drivers.coap.directory_listener").DirectoryListener(settings, directory)

    def told(made: object) -> None:
        name, address, links = made.name, made.address, made.links  # type: ignore[attr-defined]  # a Registration
        offers = " ".join(link.target for link in links[:_SHOWN]) or "nothing"
        text = f"CoAP endpoint {name} at {address[0]} has registered and no mapping names it; it offers {offers}"
        shown = "".join(each if each.isprintable() else "?" for each in text[:400])  # links are the device's own words
        events.append(Event("endpoint", shown, 300, place))

    directory.told = told
    return CoapDirectory(listener, directory)
