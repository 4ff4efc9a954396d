"""Reading another OPC UA server's names for an import: variables below a node, their units, ranges and aliases."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies
from asyncua.ua import uaerrors
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509

from twin_gateway.engineering.live_import import LiveImportError, Progress
from twin_gateway.engineering.opcua_import_space import POLICIES, Access, ForeignSpace, ForeignVariable, Limits

_HIERARCHICAL: Final = ua.NodeId(ua.Int32(33))
_HAS_PROPERTY: Final = ua.NodeId(ua.Int32(46))
_ALIASES: Final = ua.NodeId(ua.Int32(23470))
_PASSED_OVER: Final = frozenset({ua.NodeId(ua.Int32(2253)), _ALIASES, ua.NodeId(ua.Int32(23488))})
"""The server about itself, alias categories and topics."""
_OBJECT, _VARIABLE, _METHOD = 1, 2, 4
_OUR_BATCH: Final = 200
_AT_ONCE = 1000
"""References of one node in one answer; the server keeps the rest for the next."""
_PROPERTIES: Final = ("EngineeringUnits", "EURange", "InstrumentRange", "EnumStrings", "TrueState", "FalseState")
_MOST_TEXT: Final = 500
_LONGEST: Final = 2
"""Browsing ends after its time with what there is; the whole reading, attributes and all, fails after twice that."""


async def read_space(url: str, node: str, access: Access, limits: Limits, progress: Progress) -> ForeignSpace:
    """Browse a server from a node on; nothing is subscribed and nothing written.

    Raises:
        LiveImportError: no connection, refused, no such node, an answer that is none.
    """
    # What the library says of a lost connection is said in a sentence here.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    client = Client(url, timeout=access.timeout)
    try:
        start = ua.NodeId.from_string(node)
    except (uaerrors.UaStringParsingError, ValueError) as error:
        raise LiveImportError(f"'{node}' is no NodeId", "as in i=85, ns=2;s=Plant or ns=4;i=1001") from error
    whole = asyncio.timeout(_LONGEST * limits.seconds)
    try:
        async with whole:
            await _enter(client, access)
            try:
                return await _Reading(client, limits, progress).run(start)
            finally:
                await client.disconnect()
    except (uaerrors.UaError, OSError, TimeoutError, ValueError) as error:
        message, hint = _told(error, access)
        if whole.expired():
            message, hint = f"not read within {_LONGEST * limits.seconds:g} s", "begin at a node further down"
        raise LiveImportError(f"{url}: {message}", hint) from error


async def _enter(client: Client, access: Access) -> None:
    if access.policy:
        policy = getattr(security_policies, f"SecurityPolicy{access.policy.replace('_', '')}")
        files = [access.certificate, access.key, access.server_certificate]
        certificate, key, server = (str(file) for file in files)
        try:
            client.application_uri = _application_uri(Path(certificate)) or client.application_uri
            await client.set_security(policy, certificate, key, server_certificate=server)
        except (ValueError, TypeError) as error:
            hint = "certificates are PEM or DER, the key is PEM without a password"
            raise LiveImportError("a certificate or the key cannot be read", hint) from error
    if access.user:
        client.set_user(access.user)
        client.set_password(access.password)
    await client.connect()


def _application_uri(file: Path) -> str:
    """Our application's URI as the certificate says it: a server compares the two."""
    data = file.read_bytes()
    load = x509.load_pem_x509_certificate if b"-----BEGIN" in data else x509.load_der_x509_certificate
    try:
        names = load(data).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")


def _told(error: Exception, access: Access) -> tuple[str, str]:
    """What happened in one sentence, and what to look at."""
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there", "is it the server's port, is the server running?"
    if isinstance(error, TimeoutError):
        hint = "is --server-certificate the server's own, does it trust ours?" if access.policy else ""
        return f"no answer within {access.timeout:g} s", hint or "is it reached, is it an OPC UA server?"
    name = type(error).__name__
    if name in {"BadUserAccessDenied", "BadIdentityTokenRejected", "BadIdentityTokenInvalid"}:
        return f"the server refuses the user ({name})", "name another one with --user and --password '${NAME}'"
    if name in {"BadSecurityChecksFailed", "BadCertificateUntrusted", "BadCertificateUriInvalid"}:
        return f"the server refuses our certificate ({name})", "let it trust the certificate of --certificate"
    if name in {"BadSecurityPolicyRejected", "BadSecurityModeRejected", "BadSecurityModeInsufficient"}:
        return f"the server wants another security ({name})", f"--policy is one of {', '.join(POLICIES)}"
    if name in {"BadNodeIdUnknown", "BadNodeIdInvalid"}:
        return "the server has no such node", "browse it from Objects, without --node"
    if "No matching endpoints" in str(error):
        policy = access.policy or "no security policy"
        return f"the server has no endpoint with {policy}", f"--policy is one of {', '.join(POLICIES)}"
    text = getattr(error, "strerror", None) or str(error).partition("\n")[0] or name
    return text, "is the URL right, as in opc.tcp://10.4.7.10:4840?"


class _Reading:
    """One pass over a server."""

    def __init__(self, client: Client, limits: Limits, progress: Progress) -> None:
        self._client = client
        self._limits = limits
        self._progress = progress
        self._until = time.monotonic() + limits.seconds
        self._space = ForeignSpace()
        self._uris: list[str] = []
        self._properties: dict[ua.NodeId, dict[str, ua.NodeId]] = {}
        self._types: dict[ua.NodeId, str] = {}
        self._seen: set[ua.NodeId] = set()
        self._found: dict[ua.NodeId, ForeignVariable] = {}
        self._browse_batch = self._read_batch = _OUR_BATCH
        self._refused = 0

    async def run(self, start: ua.NodeId) -> ForeignSpace:
        self._uris = await self._client.get_namespace_array()
        await self._limits_of_server()
        found = await self._browse_all(start)
        if self._refused:
            self._space.notes.append(f"{self._refused} nodes are left out: the server does not tell their children")
        await self._attributes(found)
        await self._of_properties(found)
        await self._aliases()
        self._space.variables = list(found.values())
        return self._space

    async def _limits_of_server(self) -> None:
        """Most nodes of one request, by OperationLimits; 0 and Bad say nothing."""
        values = await self._client.uaclient.read_attributes(
            [ua.NodeId(ua.Int32(11710)), ua.NodeId(ua.Int32(11705))], AttributeIds.Value
        )
        sizes = [_value(value) for value in values]
        limits = [size if isinstance(size, int) and size > 0 else _OUR_BATCH for size in sizes]
        self._browse_batch, self._read_batch = (min(limit, _OUR_BATCH) for limit in limits)

    async def _browse_all(self, start: ua.NodeId) -> dict[ua.NodeId, ForeignVariable]:
        """Variables below a node, breadth first; properties go to `_properties`."""
        found, seen = self._found, self._seen
        seen |= {start, *_PASSED_OVER}
        level: list[tuple[ua.NodeId, tuple[str, ...]]] = [(start, ())]
        for depth in range(self._limits.depth + 1):
            if not level:
                return found
            if depth == self._limits.depth:
                self._space.notes.append(f"what is deeper than {depth} levels is left out (--depth)")
                return found
            below: list[tuple[ua.NodeId, tuple[str, ...]]] = []
            for at in range(0, len(level), self._browse_batch):
                some = level[at : at + self._browse_batch]
                for (node, path), references in zip(some, await self._browse([n for n, _ in some]), strict=True):
                    for reference in references:
                        self._take(node, path, reference, below)
                self._progress(f"{len(seen)} nodes, {len(found)} variables")
                if len(seen) >= self._limits.nodes or time.monotonic() > self._until:
                    what = f"after {len(seen)} nodes the rest is left out (--most)"
                    self._space.notes.append(
                        what if len(seen) >= self._limits.nodes else f"after {self._limits.seconds:g} s {what[6:]}"
                    )
                    return found
            level = below
        return found

    def _take(
        self,
        parent: ua.NodeId,
        path: tuple[str, ...],
        reference: Any,
        below: list[tuple[ua.NodeId, tuple[str, ...]]],
    ) -> None:
        if getattr(reference.NodeId, "ServerIndex", 0) or not reference.NodeClass & (_OBJECT | _VARIABLE):
            return
        node = _local(reference.NodeId)
        name = reference.BrowseName.Name or ""
        if reference.ReferenceTypeId == _HAS_PROPERTY:
            if name in _PROPERTIES:
                self._properties.setdefault(parent, {})[name] = node
            return
        if node in self._seen:
            return
        self._seen.add(node)
        here = (*path, name)
        below.append((node, here))
        if reference.NodeClass == _VARIABLE:
            uri = self._uris[node.NamespaceIndex] if node.NamespaceIndex < len(self._uris) else ""
            shown = reference.DisplayName.Text or name
            self._found[node] = ForeignVariable(node.to_string(), str(node.Identifier), uri, here, shown[:_MOST_TEXT])

    async def _browse(self, nodes: Sequence[ua.NodeId]) -> list[list[Any]]:
        """Children of some nodes; of those that the server will not tell it is noted how many there are."""
        out: list[list[Any]] = [[] for _ in nodes]
        pending, size = list(range(len(nodes))), len(nodes)
        while pending:
            # A server has few places for what is still to be told: nodes that found none are asked again.
            some, pending, postponed = pending[:size], pending[size:], []
            parameters = ua.BrowseParameters(
                View=ua.ViewDescription(), RequestedMaxReferencesPerNode=ua.UInt32(_AT_ONCE)
            )
            parameters.NodesToBrowse = [_children_of(nodes[i]) for i in some]
            results = await self._client.uaclient.browse(parameters)
            waiting = []
            for i, result in zip(some, results, strict=True):
                if result.StatusCode.value == StatusCodes.BadNoContinuationPoints and len(some) > 1:
                    postponed.append(i)
                    continue
                if not result.StatusCode.is_good():
                    if len(nodes) == 1:
                        result.StatusCode.check()
                    self._refused += 1
                out[i] += result.References or []
                if result.ContinuationPoint:
                    waiting.append((i, result.ContinuationPoint))
            await self._rest(waiting, out)
            size = max(1, size // 2) if len(postponed) == len(some) else size
            pending = postponed + pending
        return out

    async def _rest(self, waiting: list[tuple[int, bytes]], out: list[list[Any]]) -> None:
        """What is behind the continuation points, as far as the limit of nodes."""
        while waiting:
            given_up = sum(map(len, out)) > self._limits.nodes
            following = ua.BrowseNextParameters(given_up, [point for _, point in waiting])
            more = await self._client.uaclient.browse_next(following)
            again = []
            for (i, _), result in zip(waiting, more, strict=True):
                out[i] += result.References or []
                if result.ContinuationPoint and not given_up:
                    again.append((i, result.ContinuationPoint))
            waiting = again

    async def _read(self, nodes: Sequence[ua.NodeId], attribute: AttributeIds) -> Iterator[Any]:
        values: list[Any] = []
        for at in range(0, len(nodes), self._read_batch):
            some = list(nodes[at : at + self._read_batch])
            values += [_value(value) for value in await self._client.uaclient.read_attributes(some, attribute)]
            self._progress(f"{len(self._properties)} variables with properties, {len(values)} values of {len(nodes)}")
        return iter(values)

    async def _attributes(self, found: dict[ua.NodeId, ForeignVariable]) -> None:
        nodes = list(found)
        types = list(await self._read(nodes, AttributeIds.DataType))
        await self._name_types({node for node in types if isinstance(node, ua.NodeId)})
        levels = await self._read(nodes, AttributeIds.AccessLevel)
        texts = await self._read(nodes, AttributeIds.Description)
        for variable, kind, level, text in zip(found.values(), types, levels, texts, strict=True):
            variable.data_type = self._types.get(kind, "") if isinstance(kind, ua.NodeId) else ""
            variable.writable = isinstance(level, int) and bool(level & 2)
            variable.description = (getattr(text, "Text", None) or "")[:_MOST_TEXT]

    async def _name_types(self, types: set[ua.NodeId]) -> None:
        nodes = sorted(types, key=str)
        for node, name in zip(nodes, await self._read(nodes, AttributeIds.BrowseName), strict=True):
            self._types[node] = getattr(name, "Name", None) or node.to_string()

    async def _of_properties(self, found: dict[ua.NodeId, ForeignVariable]) -> None:
        """Units, ranges and states."""
        asked = [
            (variable, name, there)
            for node, variable in found.items()
            for name, there in self._properties.get(node, {}).items()
        ]
        values = await self._read([there for _, _, there in asked], AttributeIds.Value)
        for (variable, name, _), value in zip(asked, values, strict=True):
            if name == "EngineeringUnits":
                variable.unit = getattr(getattr(value, "DisplayName", None), "Text", None) or ""
                variable.unit_id = getattr(value, "UnitId", 0) or 0
            elif name in {"EURange", "InstrumentRange"}:
                if variable.low is None or name == "EURange":
                    variable.low, variable.high = getattr(value, "Low", None), getattr(value, "High", None)
            elif name == "EnumStrings" and isinstance(value, list):
                variable.states = tuple(str(getattr(text, "Text", "") or "") for text in value[:64])
            elif name in {"FalseState", "TrueState"}:
                text = str(getattr(value, "Text", "") or "")
                false, true = variable.states or ("", "")
                variable.states = (text, true) if name == "FalseState" else (false, text)

    async def _aliases(self) -> None:
        """Alias names of all categories, where the server has any; what it will not tell becomes a note."""
        try:
            categories = (await self._browse([_ALIASES]))[0]
        except uaerrors.UaError:
            return
        for category in categories:
            if category.NodeClass != _OBJECT:
                continue
            node = _local(category.NodeId)
            methods = [each for each in (await self._browse([node]))[0] if each.BrowseName.Name == "FindAlias"]
            if not methods:
                continue
            request = ua.CallMethodRequest()
            request.ObjectId, request.MethodId = node, _local(methods[0].NodeId)
            request.InputArguments = [
                ua.Variant("%", ua.VariantType.String),
                ua.Variant(ua.NodeId(), ua.VariantType.NodeId),
            ]
            result = (await self._client.uaclient.call([request]))[0]
            if not result.StatusCode.is_good():
                name, why = category.BrowseName.Name, result.StatusCode.name
                if why not in {"BadNothingToDo", "BadNotImplemented", "BadNotSupported"}:
                    self._space.notes.append(f"aliases of category {name} are left out: {why}")
                continue
            self._keep((result.OutputArguments or [ua.Variant([])])[0].Value or [])

    def _keep(self, aliases: Sequence[Any]) -> None:
        for alias in aliases:
            for node in getattr(alias, "ReferencedNodes", None) or ():
                names = self._space.aliases.setdefault(_local(node).to_string(), [])
                name = alias.AliasName.Name or ""
                if name and name not in names:
                    names.append(name)


def _children_of(node: ua.NodeId) -> ua.BrowseDescription:
    wanted = ua.BrowseDescription()
    wanted.NodeId, wanted.ReferenceTypeId, wanted.IncludeSubtypes = node, _HIERARCHICAL, True
    wanted.BrowseDirection = ua.BrowseDirection.Forward
    wanted.NodeClassMask = ua.UInt32(_OBJECT | _VARIABLE | _METHOD)
    wanted.ResultMask = ua.UInt32(63)
    return wanted


def _local(node: Any) -> ua.NodeId:
    return ua.NodeId(node.Identifier, node.NamespaceIndex, node.NodeIdType)


def _value(value: Any) -> Any:
    """What was read; None where it is Bad."""
    if value.StatusCode is not None and not value.StatusCode.is_good():
        return None
    return value.Value.Value if value.Value is not None else None


def run_reading(url: str, node: str, access: Access, limits: Limits, progress: Progress) -> ForeignSpace:
    """`read_space` in an event loop of its own; raises what that raises."""
    return asyncio.run(read_space(url, node, access, limits, progress))
