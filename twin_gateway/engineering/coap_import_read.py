"""Reading a CoAP device for an import: its links, what stands behind them, and the lookups of a resource directory."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from address_space.address import escape
from twin_gateway.drivers.coap import linkformat, objects, senml, tlv
from twin_gateway.drivers.coap.client import Client, Response
from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.driver import target_of
from twin_gateway.drivers.coap.linkformat import WebLink
from twin_gateway.drivers.coap.oscore import SecurityContext
from twin_gateway.engineering.coap_import_places import MAIN
from twin_gateway.engineering.draft import Value
from twin_gateway.engineering.live_import import LiveImportError, OnceLink, Progress, Target

Kind = Literal["number", "boolean", "text", ""]

CORE: Final = "/.well-known/core"
_TEXT, _LINKS, _JSON, _CBOR, _SENML_JSON, _SENML_CBOR, _TLV = 0, 40, 50, 60, 110, 112, tlv.TLV
_MOST_ASKED: Final = 512
"""Resources of one device that are fetched; what is beyond is only listed."""
_MOST_VALUES: Final = 200
"""Values in one resource."""
_MOST_DEPTH: Final = 5
_LONGEST: Final = 120
_NAMED: Final = re.compile(r"/[!-~]{0,255}")
_MOST_SECONDS: Final = 600.0
_MOST_ENDPOINTS: Final = 1000


@dataclass(slots=True)
class Offered:
    """One value that a device offers.

    Attributes:
        path: of its resource.
        fields: protocol fields of a point line.
        name: of the record or member; empty for a whole resource.
        numbers: path of a resource of an object; empty for others.
        words: resource type, as the device says it.
        kind: of the value as it was read; empty when it was not.
        unit: SenML symbol that the device says; empty when it does not.
        remark: why there is no value.
    """

    path: str
    fields: dict[str, Value]
    name: str = ""
    numbers: tuple[int, ...] = ()
    words: str = ""
    kind: Kind = ""
    unit: str = ""
    remark: str = ""


@dataclass(slots=True)
class DeviceContent:
    """What a device offers.

    Attributes:
        links: number of links it lists.
        offered: values in the order of the links.
        base: URI of an endpoint of a directory; empty for a device that was asked itself.
        endpoint: name under which it registered.
        kind: endpoint type of the directory (`et`).
        asked: the device itself was asked; else only what the directory knows is here.
    """

    links: int = 0
    offered: list[Offered] = field(default_factory=list)
    base: str = ""
    endpoint: str = ""
    kind: str = ""
    asked: bool = True


async def read_device(
    target: Target, folder: Path, progress: Progress, *, values: bool = True, kept: bool = False
) -> DeviceContent:
    """The links of a device and, with `values`, what stands behind each.

    Args:
        target: with its `config`.
        folder: where sequence numbers of OSCORE are kept.
        progress: told how far it is.
        values: fetch each resource once, so that types, records and units are known.
        kept: `folder` is the gateway's own.

    Raises:
        LiveImportError: no answer, refused, no list of links.
    """
    async with _opened(target, folder, kept=kept) as client:
        config = _config(target)
        links = await _links(target, client, f"{CORE}?{config.discover}" if config.discover else CORE)
        name, _, pattern = config.discover.partition("=")
        wanted = {name: pattern} if name else {}
        own = {link.target: link for link in reversed(links) if _own(link) and linkformat.fits(link.attributes, wanted)}
        links = list(reversed(own.values()))  # each once, as it is said first
        out = DeviceContent(len(links))
        for count, link in enumerate(links):
            progress(f"{count} of {len(links)} resources")
            asked = values and count < _MOST_ASKED
            out.offered += await _behind(client, link) if asked else unasked(link)
        return out


async def read_directory(
    target: Target, folder: Path, progress: Progress, *, kept: bool = False
) -> tuple[list[DeviceContent], int]:
    """The endpoints of a resource directory (RFC 9176), each with the links that it registered; how many are left out.

    Raises:
        LiveImportError: no answer, refused, no directory there.
    """
    async with _opened(target, folder, kept=kept) as client:
        services = await _links(target, client, CORE)
        where = {
            word: link.target
            for link in services
            for word in link.parameters.get("rt", "").split()
            if word.startswith("core.rd-lookup")
        }
        if "core.rd-lookup-ep" not in where or "core.rd-lookup-res" not in where:
            hint = "leave --directory out to read a device itself"
            raise LiveImportError(f"{target.said}: no resource directory there (no core.rd-lookup)", hint)
        endpoints = await _links(target, client, where["core.rd-lookup-ep"])
        all_named = [link for link in endpoints if link.parameters.get("ep")]
        named, out = all_named[:_MOST_ENDPOINTS], []
        for count, link in enumerate(named):
            name = link.parameters["ep"]
            progress(f"{count} of {len(named)} endpoints")
            links = await _links(target, client, f"{where['core.rd-lookup-res']}?ep={quote(name, safe=':')}")
            base = link.parameters.get("base", "")
            content = DeviceContent(
                len(links), base=base, endpoint=name, kind=link.parameters.get("et", ""), asked=False
            )
            for found in links:
                content.offered += unasked(replace(found, target=urlsplit(found.target).path or "/"), lwm2m=True)
            out.append(content)
        return out, len(all_named) - len(named)


@contextlib.asynccontextmanager
async def _opened(target: Target, folder: Path, *, kept: bool) -> AsyncIterator[Client]:
    """A connection to the device; whatever goes wrong inside becomes a sentence."""
    config = _config(target)
    if config.endpoint is not None:
        hint = "the directory of the gateway knows its address: import from there with --directory"
        raise LiveImportError(f"{target.said}: it is known by its endpoint name only", hint)
    if urlsplit(config.uri).path:
        raise LiveImportError(f"{target.said}: a device is asked as a whole", "leave the path out of its uri")
    link = OnceLink(target.name, folder / escape(target.name))
    context = None
    whole = asyncio.timeout(_MOST_SECONDS)
    try:
        async with whole:
            if config.oscore is not None:
                if not kept:
                    hint = "name the gateway.yaml with --config, while that gateway is stopped"
                    raise LiveImportError(f"{target.said}: OSCORE uses no sequence number twice", hint)
                await asyncio.to_thread(link.data_directory.mkdir, parents=True, exist_ok=True)
                context = await asyncio.to_thread(SecurityContext, config.oscore, link.data_directory)
                await asyncio.to_thread(context.reserve)
            client = await Client.open(target_of(config), link, context)
            try:
                yield client
            finally:
                await client.close()
    except TimeoutError as error:
        if whole.expired():
            hint = "--no-values takes the links alone"
            raise LiveImportError(f"{target.said}: not read within {_MOST_SECONDS:g} s", hint) from error
        hint = "is it reached, is the port right, does it speak CoAP over this transport?"
        raise LiveImportError(f"{target.said}: no answer within {config.timeout:g} s", hint) from error
    except (OSError, ValueError) as error:
        said = str(error).removeprefix(f"{config.uri}: ")
        raise LiveImportError(f"{target.said}: {said}", _hint(config)) from error
    finally:
        if context is not None:
            await asyncio.to_thread(context.close)


def _config(target: Target) -> CoapConfig:
    if not isinstance(target.config, CoapConfig):
        raise TypeError("not a CoAP device")
    return target.config


def _hint(config: CoapConfig) -> str:
    if config.psk is not None or config.tls is not None:
        return "are key and identity, or the certificates, those that the device knows?"
    return "is the host right, is the device on, does it want coaps?"


async def _links(target: Target, client: Client, path: str) -> list[WebLink]:
    response = await client.get(path)
    if response.code == 404 and path.startswith(CORE):
        raise LiveImportError(
            f"{target.said}: {response.text} to {CORE}", "the device tells no resources: write them by hand"
        )
    if not response.good:
        hint = "the device wants a key, or another one" if response.code in {401, 403} else ""
        raise LiveImportError(f"{target.said}: {response.text} to {path}", hint)
    return linkformat.parse(response.payload)


def _own(link: WebLink) -> bool:
    """A resource of the device itself that a point may name."""
    return link.target.startswith("/") and link.target.partition("?")[0] != CORE


async def _behind(client: Client, link: WebLink) -> list[Offered]:
    """The values of one resource, or the resource with a remark."""
    if not _NAMED.fullmatch(link.target):
        return [Offered(link.target[:_LONGEST], {}, remark="a path that a mapping cannot say")]
    numbers = objects.numbers_of(link.target)
    if len(numbers) == 1:
        return []  # the object itself; its instances are listed
    try:
        response = await client.get(link.target)
    except TimeoutError:
        return [replace(one, remark="no answer in time") for one in unasked(link)]
    except ValueError as error:
        return [replace(one, remark=str(error)) for one in unasked(link)]
    if not response.good:
        return [replace(one, remark=response.text) for one in unasked(link)]
    try:
        found = list(itertools.islice(_values(link, numbers, response), _MOST_VALUES + 1))
        if found[_MOST_VALUES:]:
            remark = f"has more than {_MOST_VALUES} values, of which the others are left out"
            found[_MOST_VALUES] = Offered(link.target, {}, remark=remark)
        if len(numbers) >= 3 and any("path" in one.fields for one in found) and await _has_instance(client, numbers):
            observed = {name: value for name, value in found[0].fields.items() if name == "observe"}
            found = [replace(one, fields={"object": "/".join(map(str, numbers)), **observed}) for one in found]
        return found
    except (senml.SenmlError, tlv.TlvError) as error:
        return [replace(one, remark=str(error)) for one in unasked(link)]


async def _has_instance(client: Client, numbers: tuple[int, ...]) -> bool:
    """Whether the object instance can be asked for as a whole, as points by `object` are; else by `path` they are."""
    try:
        response = await client.get(objects.instance_path(numbers))
    except (TimeoutError, ValueError):
        return False
    return response.good and response.content_format in {_TLV, _SENML_JSON, _SENML_CBOR}


def unasked(link: WebLink, *, lwm2m: bool = False) -> list[Offered]:
    """What the link alone says."""
    if not _NAMED.fullmatch(link.target):
        return [Offered(link.target[:_LONGEST], {}, remark="a path that a mapping cannot say")]
    numbers = objects.numbers_of(link.target)
    # What registers objects as LwM2M does can be observed throughout.
    can = "obs" in link.parameters or (lwm2m and numbers)
    observed: dict[str, Value] = {} if can else {"observe": False}
    words = link.parameters.get("rt", "")
    if len(numbers) == 1:
        return []
    if len(numbers) == 2 and numbers[0] in MAIN:
        numbers = (*numbers, MAIN[numbers[0]])
    if len(numbers) >= 3:
        return [Offered(link.target, {"object": "/".join(map(str, numbers)), **observed}, "", numbers, words)]
    return [Offered(link.target, {"path": link.target, **observed}, words=words)]


def _values(link: WebLink, numbers: tuple[int, ...], response: Response) -> Iterator[Offered]:
    observed: dict[str, Value] = {} if "obs" in link.parameters else {"observe": False}
    words = link.parameters.get("rt", "")
    form, payload = response.content_format, response.payload
    if form == _TLV and len(numbers) >= 2:
        for path in sorted(tlv.decode(payload, numbers)):
            if len(path) >= 3:
                yield Offered(link.target, {"object": "/".join(map(str, path)), **observed}, "", path, words)
        return
    if form in (_SENML_JSON, _SENML_CBOR):
        read = senml.from_json if form == _SENML_JSON else senml.from_cbor
        yield from _records(link, numbers, read(payload, time.time()), observed, words)
        return
    if len(numbers) >= 3 and form in (None, _TEXT):
        kind = _text_kind(payload.decode("utf-8", "replace").strip())
        yield Offered(link.target, {"path": link.target, **observed}, "", numbers, words, kind)
        return
    if len(numbers) >= 3:
        yield Offered(link.target, {"object": "/".join(map(str, numbers)), **observed}, "", numbers, words, "number")
        return
    if form in (_JSON, _CBOR):
        tree = senml.json_value(payload) if form == _JSON else senml.cbor_value(payload)
        for pointer, value in _leaves(tree):
            fields: dict[str, Value] = {"path": link.target, **({"pointer": pointer} if pointer else {}), **observed}
            yield Offered(link.target, fields, pointer.strip("/"), (), words, _kind(value))
        return
    if form not in (None, _TEXT):
        remark = f"content format {form} is not read" if form != _LINKS else "a list of links"
        yield Offered(link.target, {"path": link.target, **observed}, "", (), words, "", "", remark)
        return
    text = payload.decode("utf-8", "replace").strip()
    yield Offered(link.target, {"path": link.target, **observed}, "", (), words, _text_kind(text))


def _records(
    link: WebLink,
    numbers: tuple[int, ...],
    records: Sequence[senml.Record],
    observed: dict[str, Value],
    words: str,
) -> Iterator[Offered]:
    """One value for each name; names lose what all of them begin with."""
    newest = {record.name: record for record in records}
    base = _base([record.name for record in records])
    for name, record in newest.items():
        path = objects.numbers_of("/" + name.lstrip("/")) if numbers else ()
        short = name[len(base) :]
        kind, unit = _kind(record.value), record.unit or ""
        if len(path) >= 3:
            fields: dict[str, Value] = {"object": "/".join(map(str, path)), **observed}
            yield Offered(link.target, fields, "", path, words, kind, unit)
        else:
            fields = {"path": link.target, **({"name": short} if len(newest) > 1 or not short else {}), **observed}
            if not short:
                fields["name"] = name
            yield Offered(link.target, fields, short or name, (), words, kind, unit)


def _base(names: Sequence[str]) -> str:
    """What all names begin with, up to a separator; empty for a name that has none."""
    first = names[0] if names else ""
    cut = max((first.rfind(separator) for separator in "/:"), default=-1) + 1
    while cut > 0 and not all(name.startswith(first[:cut]) for name in names):
        cut = max(first.rfind(separator, 0, cut - 1) for separator in "/:") + 1
    return first[:cut]


def _leaves(tree: object, above: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
    """JSON pointer and value of each scalar."""
    if isinstance(tree, dict) and depth < _MOST_DEPTH:
        items = [(str(key).replace("~", "~0").replace("/", "~1"), value) for key, value in tree.items()]
    elif isinstance(tree, list) and depth < _MOST_DEPTH:
        items = [(str(i), value) for i, value in enumerate(tree)]
    else:
        if not isinstance(tree, dict | list):
            yield above, tree
        return
    for key, value in items:
        yield from _leaves(value, f"{above}/{key}", depth + 1)


def _kind(value: object) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else "text" if isinstance(value, str) else ""


def _text_kind(text: str) -> Kind:
    if text.lower() in {"true", "false", "on", "off"}:
        return "boolean"
    with contextlib.suppress(ValueError):
        float(text)
        return "number"
    return "text"
