"""The resource directory as a part of the gateway: made when it is configured, and what it tells people."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from address_space.events import Event, EventJournal
from twin_gateway.drivers.coap.directory_settings import DirectorySettings

_SHOWN = 20


class _Listener(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


def make_directory(settings: DirectorySettings, events: EventJournal, place: str) -> _Listener:
    """The listener of the directory; the CoAP stack is imported only now.

    An endpoint that no mapping names is told of in an event, with what it offers, when it registers for the first time.
    """
    directory = import_module("twin_gateway.drivers.coap.directory").DIRECTORY
    listener = import_module("twin_gateway.drivers.coap.directory_listener").DirectoryListener(settings, directory)

    def told(made: object) -> None:
        name, address, links = made.name, made.address, made.links  # type: ignore[attr-defined]  # a Registration
        offers = " ".join(link.target for link in links[:_SHOWN]) or "nothing"
        text = f"CoAP endpoint {name} at {address[0]} has registered and no mapping names it; it offers {offers}"
        events.append(Event("endpoint", text[:400], 300, place))

    directory.told = told
    return cast(_Listener, listener)
