"""Methods of the supervision that ask a device itself: its files, and lists read of it (setting groups, logs)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from address_space import clock
from address_space.ports import Argument, Caller, MethodResult, MethodSpec, Outcome, Right
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceFile, DeviceLine, DeviceTable

_INT64, _STRING = 8, 12
MAX_TEXT = 512
"""Characters of a name that is asked for."""


@runtime_checkable
class AskedLink(Protocol):
    """What these methods need of a link; `drivers.link.LinkSupervisor` is one."""

    address: str

    async def list_files(self, path: str) -> tuple[Outcome, Sequence[DeviceFile]]:
        """Files in a folder of the device."""
        ...

    async def fetch_file(self, name: str) -> Outcome:
        """Bring a file of the device here."""
        ...

    async def read_table(self, table: DeviceTable, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        """Read a list of the device."""
        ...


Audit = Callable[..., Awaitable[None]]
"""(kind, address, caller, details, status=, text=) into the audit journal."""


def _text(name: str, description: str, *, many: bool = False) -> Argument:
    return Argument(name, _STRING, description, many)


class DeviceRequests:
    """The methods.

    Args:
        owner: the object that has them.
        links: by name.
        permits: whether a caller has a right at an address.
        audit: see `Audit`.
    """

    def __init__(
        self,
        owner: str,
        links: Callable[[str], object | None],
        permits: Callable[[Caller, Right, str], bool],
        audit: Audit,
    ) -> None:
        self._owner, self._links, self._permits, self._audit = owner, links, permits, audit

    def specs(self) -> Sequence[MethodSpec]:
        """What is offered."""
        link, answer = _text("link", "name of a link"), _text("text", "what came of it")
        tables = ", ".join(DeviceTable)
        return (
            MethodSpec(
                self._owner,
                "ListFiles",
                (link, _text("path", "folder on the device, empty for all")),
                (
                    _text("names", "as FetchFile takes them", many=True),
                    Argument("sizes", _INT64, "octets, -1 when not known", True),
                    _text("modified", "time of the last change by the device's clock, empty when not known", many=True),
                    answer,
                ),
                Right.OPERATE,
                "Files of a device, disturbance records among them",
            ),
            MethodSpec(
                self._owner,
                "FetchFile",
                (link, _text("name", "as ListFiles says it")),
                (answer,),
                Right.OPERATE,
                "Bring a file of a device to the gateway; events tell how far it is",
            ),
            MethodSpec(
                self._owner,
                "ReadDeviceTable",
                (link, _text("table", f"one of: {tables}"), _text("about", "logical device, or log and time after it")),
                (
                    _text("items", "what the line is about", many=True),
                    _text("values", "what the device says", many=True),
                    _text("notes", "time, type, refusal", many=True),
                    answer,
                ),
                Right.OPERATE,
                "Setting groups, settings and logs as the device says them now",
            ),
        )

    async def call(self, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult | None:
        """Run one; None when it is none of these."""
        if name not in {"ListFiles", "FetchFile", "ReadDeviceTable"}:
            return None
        texts = [str(argument or "") for argument in arguments]
        link = self._links(texts[0])
        empty: tuple[Any, ...] = () if name == "FetchFile" else ([], [], [])
        if link is None:
            return _refused(empty, StatusCode.BadNoMatch, f"there is no link {texts[0]}")
        if not isinstance(link, AskedLink):
            return _refused(empty, StatusCode.BadNotSupported, f"link {texts[0]} cannot be asked")
        if not self._permits(caller, Right.OPERATE, link.address):
            return _refused(empty, StatusCode.BadUserAccessDenied, f"not allowed on {link.address}")
        if any(len(text) > MAX_TEXT or not text.isprintable() for text in texts):
            return _refused(empty, StatusCode.BadInvalidArgument, f"no name of at most {MAX_TEXT} characters")
        if name == "ListFiles":
            return await self._list(link, texts[1])
        if name == "FetchFile":
            return await self._fetch(link, texts[1], caller)
        return await self._table(link, texts[1], texts[2])

    @staticmethod
    async def _list(link: AskedLink, path: str) -> MethodResult:
        outcome, found = await link.list_files(path)
        columns = (
            [file.name for file in found],
            [file.size for file in found],
            [clock.iso(file.modified) if file.modified else "" for file in found],
        )
        return MethodResult(outcome.status, (*columns, outcome.text), outcome.text)

    async def _fetch(self, link: AskedLink, name: str, caller: Caller) -> MethodResult:
        details = {"file": name}
        await self._audit("link.fetch", link.address, caller, details)
        outcome = await link.fetch_file(name)
        await self._audit("link.outcome", link.address, caller, details, status=int(outcome.status), text=outcome.text)
        return MethodResult(outcome.status, (outcome.text,), outcome.text)

    @staticmethod
    async def _table(link: AskedLink, name: str, about: str) -> MethodResult:
        try:
            table = DeviceTable(name)
        except ValueError:
            text = f"there is no list {name!r}; there are {', '.join(DeviceTable)}"
            return _refused(([], [], []), StatusCode.BadInvalidArgument, text)
        outcome, lines = await link.read_table(table, about)
        columns = [line.item for line in lines], [line.value for line in lines], [line.note for line in lines]
        return MethodResult(outcome.status, (*columns, outcome.text), outcome.text)


def _refused(empty: tuple[Any, ...], status: int, text: str) -> MethodResult:
    return MethodResult(status, (*empty, text), text)
