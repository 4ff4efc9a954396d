"""The resource directory (RFC 9176) and LwM2M registrations: who has registered, where, with what; no I/O."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from . import linkformat
from .linkformat import LinkFormatError, WebLink, fits

Endpoint = tuple[str, int]
"""IP address and port."""

MAX_NAME = 63
MAX_LINKS_OCTETS = 16_384
MAX_LINKS = 500
"""Most resources of one endpoint that are kept."""
MAX_PARAMETERS = 16
DEFAULT_LIFETIME = 90_000
LONGEST_LIFETIME = 31 * 86_400
_NAME = re.compile(r"[!#-\[\]-~]{1,63}")
_HIDDEN = frozenset({"ep", "lt", "base", "d"})
_RESERVED = frozenset({"page", "count", "href", *_HIDDEN})


class RefusedError(ValueError):
    """A registration that is not taken; the message says why, `code` is what CoAP answers."""

    def __init__(self, text: str, code: int = 400) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Registration:
    """One registered endpoint.

    Attributes:
        name: endpoint name.
        sector: RFC 9176 sector, empty without.
        address: where it registered from, and where it is asked.
        location: last segment of `/rd/…`.
        lifetime: seconds without an update after which it is forgotten.
        expires: `time.monotonic()`.
        links: its resources.
        parameters: further ones: `lwm2m`, `b`, `et` …
    """

    name: str
    sector: str
    address: Endpoint
    location: str
    lifetime: int
    expires: float
    links: tuple[WebLink, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def sleeps(self) -> bool:
        """It is in queue mode: asked only for a while after a registration or update (LwM2M 1.0 and 1.1)."""
        return "Q" in self.parameters or "Q" in self.parameters.get("b", "")

    @property
    def heard(self) -> float:
        """`time.monotonic()` of the registration or of its last update."""
        return self.expires - self.lifetime


class Directory:
    """The registrations of one gateway.

    Attributes:
        listening: address of the listener; None while there is none.
        handle: takes a datagram of a registered device that reached another socket than the listener's.
        most, most_of_one: registrations at a time, and of one address; more are refused unless a mapping names them.
        told: called with the name of a new endpoint that no mapping names, and what it offers.
        turned_away: registrations that found no room.
        woken: called for an endpoint of that name when it prolongs its registration.
    """

    def __init__(self, most: int = 1_000, most_of_one: int = 100) -> None:
        self.listening: Endpoint | None = None
        self.handle: Callable[[bytes, Endpoint, Callable[[bytes], None]], None] | None = None
        self.most, self.most_of_one = most, most_of_one
        self.turned_away = 0
        self.told: Callable[[Registration], None] | None = None
        self.woken: dict[str, Callable[[], None]] = {}
        self._by_name: dict[str, Registration] = {}
        self._by_location: dict[str, str] = {}
        self._expected: set[str] = set()
        self._changed: dict[str, asyncio.Event] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Registration]:
        return iter(list(self._by_name.values()))

    def expect(self, name: str) -> None:
        """A mapping names this endpoint: it is known when it registers."""
        self._expected.add(name)

    def is_expected(self, name: str) -> bool:
        """Whether a mapping names the endpoint."""
        return name in self._expected

    def find(self, name: str) -> Registration | None:
        """The registration of an endpoint that has not expired."""
        found = self._by_name.get(name)
        return found if found is not None and found.expires > time.monotonic() else None

    async def changed(self, name: str) -> None:
        """Return when an endpoint registers, moves to another address or is gone; updates that change nothing pass."""
        await self._changed.setdefault(name, asyncio.Event()).wait()

    def register(self, parameters: Mapping[str, str], payload: bytes, source: Endpoint) -> Registration:
        """Take a registration; one of the same name is replaced and keeps its location (RFC 9176 5).

        Raises:
            RefusedError: the name, lifetime, base or links are wrong, or there are too many registrations.
        """
        self.expire()
        name, sector = parameters.get("ep", ""), parameters.get("d", "")
        if len(parameters) > MAX_PARAMETERS:
            raise RefusedError("too many parameters")
        if _NAME.fullmatch(name) is None or (sector and _NAME.fullmatch(sector) is None):
            raise RefusedError(f"ep and d are 1 to {MAX_NAME} visible characters")
        if "base" in parameters and not _is_base_of(parameters["base"], source):
            raise RefusedError("an endpoint registers itself only, at the address it sends from")
        known = self._by_name.get(name)
        if known is None and name not in self._expected:
            # Whoever fills the directory must not keep out the devices that the gateway is there for.
            strangers = [each for each in self._by_name.values() if each.name not in self._expected]
            if len(strangers) >= self.most:
                self.turned_away += 1
                raise RefusedError(f"the directory holds {self.most} endpoints already", 503)
            if sum(each.address[0] == source[0] for each in strangers) >= self.most_of_one:
                self.turned_away += 1
                raise RefusedError(f"the directory holds {self.most_of_one} endpoints of this address already", 503)
        if known is not None and known.address[0] != source[0]:
            # First come, first remembered (RFC 9176 7.5): a name is nobody else's before its lifetime is over.
            raise RefusedError("another address has registered this name", 403)
        lifetime = _lifetime(parameters, DEFAULT_LIFETIME)
        made = Registration(
            name,
            sector,
            source,
            known.location if known is not None else secrets.token_hex(4),
            lifetime,
            time.monotonic() + lifetime,
            _links(payload),
            _further(parameters),
        )
        self._put(made)
        # A device that registers anew may have been restarted: who observes it has to begin again.
        self._tell(name)
        if known is None and name not in self._expected and self.told is not None:
            self.told(made)
        return made

    def update(self, location: str, parameters: Mapping[str, str], payload: bytes, source: Endpoint) -> Registration:
        """Prolong a registration; what is given is replaced.

        Raises:
            RefusedError: there is none of that location, it is another one's, or what is given is wrong.
        """
        known = self._at(location, source)
        if not _RESERVED.isdisjoint(parameters.keys() - {"lt", "base"}):
            raise RefusedError("name and sector stay as they are")
        if "base" in parameters and not _is_base_of(parameters["base"], source):
            raise RefusedError("an endpoint registers itself only, at the address it sends from")
        if len(parameters) > MAX_PARAMETERS:
            raise RefusedError("too many parameters")
        lifetime = _lifetime(parameters, known.lifetime)
        made = replace(
            known,
            address=source,
            lifetime=lifetime,
            expires=time.monotonic() + lifetime,
            links=_links(payload) if payload else known.links,
            parameters={**known.parameters, **_further(parameters)},
        )
        self._put(made)
        if made.address != known.address:
            self._tell(made.name)
        elif made.name in self.woken:
            self.woken[made.name]()
        return made

    def remove(self, location: str, source: Endpoint) -> None:
        """End a registration.

        Raises:
            RefusedError: there is none of that location, or it is another one's.
        """
        known = self._at(location, source)
        del self._by_name[known.name], self._by_location[location]
        self._tell(known.name)

    def expire(self) -> None:
        """Forget whose lifetime is over."""
        now = time.monotonic()
        for known in [each for each in self._by_name.values() if each.expires <= now]:
            del self._by_name[known.name], self._by_location[known.location]
            self._tell(known.name)

    def endpoints(self, wanted: Mapping[str, str]) -> list[str]:
        """Endpoint lookup (RFC 9176 6.1) in link format; `wanted` are filters, `page` and `count`."""
        self.expire()
        asked = {name: pattern for name, pattern in wanted.items() if name not in {"page", "count"}}
        lines: list[str] = []
        for known in sorted(self._by_name.values(), key=lambda each: each.name):
            values = {**known.parameters, "ep": known.name, "d": known.sector, "base": base_of(known)}
            values["href"] = f"/rd/{known.location}"
            if fits(values, asked) or any(fits(each.attributes, asked) for each in known.links):
                said = "".join(
                    f';{name}="{_quoted(value)}"' for name, value in values.items() if name != "href" and value
                )
                lines.append(f'<{values["href"]}>{said};lt={known.lifetime};rt="core.rd-ep"')
        return _page(lines, wanted)

    def resources(self, wanted: Mapping[str, str]) -> list[str]:
        """Resource lookup (RFC 9176 6.1) in link format."""
        self.expire()
        asked = {name: pattern for name, pattern in wanted.items() if name not in {"page", "count"}}
        lines: list[str] = []
        for known in sorted(self._by_name.values(), key=lambda each: each.name):
            whole = {**known.parameters, "ep": known.name, "d": known.sector, "base": base_of(known)}
            for each in known.links:
                if fits({**whole, **each.attributes}, asked):
                    target = each.target if "://" in each.target else base_of(known) + each.target
                    said = "".join(
                        f';{name}="{_quoted(text)}"' if text else f";{name}" for name, text in each.parameters.items()
                    )
                    lines.append(f"<{target}>{said}")
        return _page(lines, wanted)

    def _at(self, location: str, source: Endpoint) -> Registration:
        self.expire()
        name = self._by_location.get(location)
        if name is None:
            raise RefusedError("no such registration", 404)
        known = self._by_name[name]
        if known.address[0] != source[0]:
            raise RefusedError("the registration of another address", 403)
        return known

    def _put(self, made: Registration) -> None:
        self._by_name[made.name] = made
        self._by_location[made.location] = made.name

    def _tell(self, name: str) -> None:
        waiting = self._changed.pop(name, None)
        if waiting is not None:
            waiting.set()


DIRECTORY = Directory()
"""The directory of this process."""


def base_of(known: Registration) -> str:
    """URI that an endpoint is asked at."""
    host, port = known.address
    return f"coap://[{host}]:{port}" if ":" in host else f"coap://{host}:{port}"


def _is_base_of(base: str, source: Endpoint) -> bool:
    match = re.fullmatch(r"coap://(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(\d{1,5}))?/?", base)
    if match is None:
        return False
    try:
        same = ipaddress.ip_address(match[1] or match[2]) == ipaddress.ip_address(source[0].partition("%")[0])
    except ValueError:
        return False
    return same and int(match[3] or 5683) == source[1]


def _lifetime(parameters: Mapping[str, str], default: int) -> int:
    text = parameters.get("lt")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) > 0):
        raise RefusedError("lt is a number of seconds")
    return min(int(text), LONGEST_LIFETIME)


def _links(payload: bytes) -> tuple[WebLink, ...]:
    if len(payload) > MAX_LINKS_OCTETS:
        raise RefusedError("too many links", 413)
    try:
        links = tuple(linkformat.parse(payload))
    except LinkFormatError as error:
        raise RefusedError(str(error)) from error
    if len(links) > MAX_LINKS:
        raise RefusedError("too many links", 413)
    return links


def _further(parameters: Mapping[str, str]) -> dict[str, str]:
    found = {name: value for name, value in parameters.items() if name not in _RESERVED}
    for name, value in found.items():
        if _NAME.fullmatch(name) is None or len(value) > 255 or not value.isprintable():
            raise RefusedError("a parameter that cannot be kept")
    return found


def _page(lines: list[str], wanted: Mapping[str, str]) -> list[str]:
    count, page = wanted.get("count", ""), wanted.get("page", "0")
    if not (count.isdigit() and page.isdigit() and len(count) < 7 and len(page) < 7):
        return lines
    return lines[int(page) * int(count) :][: int(count)]


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
