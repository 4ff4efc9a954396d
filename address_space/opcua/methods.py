"""Method service: Resolve and Lookup on the grid, commands on logical nodes, methods of providers."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import struct
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from asyncua.common.utils import ServiceError

from address_space import clock
from address_space.addcause import AddCause
from address_space.alias import AliasError, Filter
from address_space.opcua.method_audit import tell_call
from address_space.opcua.method_specs import COMMANDS, GRID, LOOKUP, RESOLVE, rights_of
from address_space.opcua.space import Node
from address_space.opcua.standard_methods import StandardMethod
from address_space.opcua.untyped import ua
from address_space.opcua.wire import (
    NO_DIAGNOSTICS,
    encode_text,
    encode_variant,
    pack_i32,
    pack_u32,
)
from address_space.ports import (
    Argument,
    AuditRecord,
    Command,
    MethodProvider,
    MethodResult,
    MethodSpec,
    Outcome,
    Right,
    Verb,
)
from address_space.quality import StatusCode

if TYPE_CHECKING:
    from address_space.opcua.access import Access
    from address_space.opcua.processor import Handler, Processor, Request
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

_BOOLEAN, _INT32, _UINT32, _STRING, _NODE_ID, _ANY = 1, 6, 7, 12, 17, 24
_NULLABLE = {_STRING, 15, 21}  # String, ByteString, LocalizedText
_NUMBERS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
_SLICE = 500
_LONGEST_NAME, _LONGEST_TEXT = 200, 1_000
_log = logging.getLogger(__name__)
_OPERATION_TEXT, _OPERATION_INFO, _OPERATION_MASK = 0x40, 0x80, 0x3E0


class MethodCatalogue:
    """Which object has which methods."""

    def __init__(self, server: InternalServer) -> None:
        self._server = server
        self._provided: dict[str, dict[str, tuple[MethodSpec, MethodProvider]]] = {}
        for provider in server.ports.providers:
            for spec in provider.specs():
                self._provided.setdefault(spec.owner, {})[spec.name] = (spec, provider)

    def of(self, owner: str, tree: int) -> Mapping[str, MethodSpec]:
        """Methods of an object by name; `owner` is empty for the grid object."""
        methods: Mapping[str, MethodSpec] = {}
        if not owner:
            methods = GRID
        elif self._controllable(tree):
            methods = COMMANDS
        further = self._provided.get(owner)
        if further:
            return {**methods, **{name: spec for name, (spec, _) in further.items()}}
        return methods

    def provider(self, owner: str, name: str) -> MethodProvider | None:
        """Who runs a method; None for the server's own."""
        found = self._provided.get(owner, {}).get(name)
        return None if found is None else found[1]

    def _controllable(self, tree: int) -> bool:
        server = self._server
        if not server.space.is_function(tree):
            return False
        rows = server.table.tree.row
        for child in server.table.tree.children(tree):
            row = int(rows[child])
            if row >= 0 and server.table.profile(row).controllable:
                return True
        return False


class _RefusedError(Exception):
    """A call that does not reach its method."""

    def __init__(self, status: int, text: str = "", arguments: Sequence[int] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.arguments = tuple(arguments)


class _ForbiddenMethodError(_RefusedError):
    """A method of a provider, called by someone who may not."""

    def __init__(self, node: Node, text: str) -> None:
        super().__init__(ua.StatusCodes.BadUserAccessDenied, text)
        self.node = node


class _ForbiddenCommandError(_RefusedError):
    """A command of someone who may not command here."""

    def __init__(self, node: Node, text: str) -> None:
        super().__init__(ua.StatusCodes.BadUserAccessDenied, text)
        self.node = node


class _Answer:
    """CallMethodResult in the making; `audited` when the method has told its own audit event."""

    def __init__(self, status: int, outputs: Sequence[bytes] = (), text: str = "", arguments: Sequence[int] = ()):
        self.status, self.outputs, self.text, self.arguments = status, outputs, text, arguments
        self.audited = False

    def encode(self) -> bytes:
        return b"".join(
            (
                pack_u32(self.status),
                pack_i32(len(self.arguments)),
                *(pack_u32(status) for status in self.arguments),
                NO_DIAGNOSTICS,
                pack_i32(len(self.outputs)),
                *self.outputs,
            )
        )


# ---- Call ------------------------------------------------------------------------------------------------------


def call(processor: Processor, request: Request) -> None:
    """Call; methods may wait for devices, so the connection's other requests go on meanwhile."""
    count = request.reader().array(8)
    if not count:
        raise ServiceError(ua.StatusCodes.BadNothingToDo)
    if count > processor.iserver.limits.max_nodes_per_call:
        raise ServiceError(ua.StatusCodes.BadTooManyOperations)
    parameters = request.decode(ua.CallParameters)
    if processor.session is None:
        raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
    issued_at = request.received - processor.session.delay
    processor.spawn(_call_all(processor, processor.session, request, issued_at, parameters.MethodsToCall), request)


async def _call_all(
    processor: Processor, session: Session, request: Request, issued_at: int, wanted: Sequence[Any]
) -> None:
    answers = []
    for each in wanted:
        try:
            answers.append(await _call_one(processor.iserver, session, issued_at, each))
        except ServiceError:
            raise
        except Exception:  # the answers of the calls before it, which were made, must not be lost
            _log.exception("method %s of %s failed", each.MethodId, each.ObjectId)
            answers.append(_Answer(ua.StatusCodes.BadInternalError))
        if not answers[-1].audited:
            tell_call(processor.iserver, session, each, answers[-1].status)
    strings: list[str] = []
    diagnostics = _diagnostics(answers, request.diagnostics, strings)
    body = (pack_i32(len(answers)), *(answer.encode() for answer in answers), diagnostics)
    processor.respond(request, 715, *body, strings=strings)


def _diagnostics(answers: Sequence[_Answer], mask: int, strings: list[str]) -> bytes:
    if not mask & _OPERATION_MASK or not any(answer.text for answer in answers):
        return NO_DIAGNOSTICS
    parts = [pack_i32(len(answers))]
    for answer in answers:
        bits, body = 0, b""
        if answer.text and answer.status:
            if mask & _OPERATION_TEXT:
                bits |= 0x04
                body += pack_i32(len(strings))
                strings.append(answer.text)
            if mask & _OPERATION_INFO:
                bits |= 0x10
                body += encode_text(answer.text)
        parts.append(bytes((bits,)) + body)
    return b"".join(parts)


async def _call_one(server: InternalServer, session: Session, issued_at: int, wanted: Any) -> _Answer:
    standard = server.standard_methods.find(server, wanted.ObjectId, wanted.MethodId)
    if standard is not None:
        return await _call_standard(server, session, standard, wanted)
    try:
        owner, node, spec = _find(server, session.rights, wanted)
        arguments = _arguments(spec, wanted.InputArguments or [])
    except _ForbiddenCommandError as error:
        given = wanted.InputArguments or []
        name = given[0].Value if given and isinstance(given[0].Value, str) else ""
        outcome = Outcome.refused("role", str(error), error.status, AddCause.NO_ACCESS_AUTHORITY)
        return await _refused(server, session, (error.node, name), outcome)
    except _ForbiddenMethodError as error:
        await _note_forbidden(server, session, error)
        return _Answer(error.status, (), str(error), error.arguments)
    except _RefusedError as error:
        return _Answer(error.status, (), str(error), error.arguments)
    good = (0,) * len(arguments)
    provider = server.methods.provider(owner.owner, spec.name)
    if provider is not None:
        if session.caller is None:
            return _Answer(ua.StatusCodes.BadUserAccessDenied)
        values = [each.Value for each in arguments]
        result = await provider.call(owner.owner, spec.name, values, session.caller)
        return _Answer(result.status, _outputs(spec, result), result.text, good)
    if spec is RESOLVE:
        return _resolve(server, session.rights, arguments[0].Value or "", good)
    if spec is LOOKUP:
        return await _lookup(server, session.rights, arguments, good)
    return await _command(server, session, issued_at, (node, spec), arguments)


async def _call_standard(server: InternalServer, session: Session, method: StandardMethod, wanted: Any) -> _Answer:
    refusal = method.refusal(session)
    if refusal:
        return _Answer(refusal, (), f"{method.spec.name} is not for this caller on this channel")
    try:
        arguments = _arguments(method.spec, wanted.InputArguments or [])
    except _RefusedError as error:
        return _Answer(error.status, (), str(error), error.arguments)
    status, outputs = await method.run(server, session, wanted.ObjectId, arguments)
    answer = _Answer(status, [encode_variant(each) for each in outputs], "", (0,) * len(arguments))
    answer.audited = method.instance_call is not None
    return answer


def _find(server: InternalServer, access: Access, wanted: Any) -> tuple[Node, Node, MethodSpec]:
    space = server.space
    owner, node = _grid_node(server, wanted.ObjectId), _grid_node(server, wanted.MethodId)
    if owner is None or not access.allows(Right.BROWSE, owner.owner):
        if wanted.ObjectId in server.aspace and owner is None:
            known = server.types.has_component(wanted.ObjectId, wanted.MethodId)
            status = ua.StatusCodes.BadNotImplemented if known else ua.StatusCodes.BadMethodInvalid
            raise _RefusedError(status, "no method of the standard nodes is implemented")
        raise _RefusedError(ua.StatusCodes.BadNodeIdUnknown, "there is no such object")
    if node is None or not node.is_method or node.method is None:
        raise _RefusedError(ua.StatusCodes.BadMethodInvalid, "there is no such method")
    if node.identifier != f"{owner.identifier}#{node.member}" or space.node_class(owner) != 1:
        raise _RefusedError(ua.StatusCodes.BadMethodInvalid, "the object does not have this method")
    if not access.allows_any(rights_of(node.method), owner.owner):
        text = f"{node.member} needs the right to {node.method.right}"
        if node.method in COMMANDS.values():
            raise _ForbiddenCommandError(node, text)
        raise _ForbiddenMethodError(node, text)
    return owner, node, node.method


def _grid_node(server: InternalServer, node_id: Any) -> Node | None:
    if node_id.NamespaceIndex != server.space.namespace or not isinstance(node_id.Identifier, str):
        return None
    return server.space.find(node_id.Identifier)


def _arguments(spec: MethodSpec, given: Sequence[Any]) -> list[Any]:
    if len(given) < len(spec.inputs):
        raise _RefusedError(ua.StatusCodes.BadArgumentsMissing, f"{spec.name} takes {len(spec.inputs)} arguments")
    if len(given) > len(spec.inputs):
        raise _RefusedError(ua.StatusCodes.BadTooManyArguments, f"{spec.name} takes {len(spec.inputs)} arguments")
    results = [
        0 if _fits(argument, value) else int(ua.StatusCodes.BadTypeMismatch)
        for argument, value in zip(spec.inputs, given, strict=True)
    ]
    if any(results):
        names = [argument.name for argument, status in zip(spec.inputs, results, strict=True) if status]
        text = f"of the wrong type: {', '.join(names)}"
        raise _RefusedError(ua.StatusCodes.BadInvalidArgument, text, results)
    return list(given)


def _fits(argument: Argument, value: Any) -> bool:
    if isinstance(value.Value, list) != argument.is_list:
        return argument.is_list and value.Value is None
    if argument.type_id == _ANY:
        return value.Value is not None
    if value.Value is None and argument.type_id not in _NULLABLE:
        return False
    return int(value.VariantType) == argument.type_id


def _outputs(spec: MethodSpec, result: MethodResult) -> list[bytes]:
    outputs = []
    for argument, value in zip(spec.outputs, result.outputs, strict=False):
        kind = ua.VariantType(argument.type_id) if argument.type_id != _ANY else None
        outputs.append(encode_variant(ua.Variant(value, kind, is_array=argument.is_list)))
    return outputs


# ---- the grid's methods ----------------------------------------------------------------------------------------------


def _text(value: str) -> bytes:
    return b"\x0c" + encode_text(value)


def _texts(values: Sequence[str]) -> bytes:
    return b"\x8c" + pack_i32(len(values)) + b"".join(encode_text(value) for value in values)


def _resolve(server: InternalServer, access: Access, text: str, good: Sequence[int]) -> _Answer:
    resolution = server.book.resolve(text)
    visible = resolution.found and access.allows(Right.BROWSE, resolution.address)
    nearest = [each for each in resolution.nearest if access.allows(Right.BROWSE, each)]
    tombstone = ""
    if resolution.tombstone is not None:
        tombstone = json.dumps(
            {**asdict(resolution.tombstone), "retired_at": clock.iso(resolution.tombstone.retired_at)}
        )
    outputs = (
        _text(resolution.address if visible else ""),
        _text(resolution.kind if visible else ""),
        b"\x11" + (server.space.node_id(resolution.address) if visible else b"\x00\x00"),
        _text(resolution.topic if visible else ""),
        _text(resolution.uri if visible else ""),
        _texts([json.dumps(asdict(binding)) for binding in resolution.bindings] if visible else []),
        _texts(resolution.aliases if visible else ()),
        _text(tombstone),
        _texts(nearest),
    )
    if visible:
        return _Answer(0, outputs, "", good)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return _Answer(ua.StatusCodes.BadNoMatch, outputs, f"{text[:80]!r} names nothing here{hint}", good)


async def _lookup(server: InternalServer, access: Access, arguments: Sequence[Any], good: Sequence[int]) -> _Answer:
    pattern, where, most = (each.Value for each in arguments)
    limit = min(most or server.limits.max_lookup, server.limits.max_lookup)
    found: list[str] = []
    more = False
    try:
        for count, address in enumerate(server.book.walk(pattern or "", Filter.parse(where or "")), 1):
            if address is not None and access.allows(Right.BROWSE, address):
                if len(found) >= limit:
                    more = True
                    break
                found.append(address)
            if count % _SLICE == 0:
                # A pattern may lead through the whole tree: others get their turn.
                await asyncio.sleep(0)
    except AliasError as error:
        bad = int(ua.StatusCodes.BadOutOfRange)
        return _Answer(ua.StatusCodes.BadInvalidArgument, (), str(error), (bad, bad, 0))
    nodes = b"".join(server.space.node_id(address) for address in found)
    outputs = (_texts(found), b"\x91" + pack_i32(len(found)) + nodes, struct.pack("<B?", _BOOLEAN, more))
    return _Answer(0, outputs, "", good)


# ---- commands --------------------------------------------------------------------------------------------------------


async def _command(
    server: InternalServer,
    session: Session,
    issued_at: int,
    method: tuple[Node, MethodSpec],
    arguments: Sequence[Any],
) -> _Answer:
    node, spec = method
    good = (0,) * len(arguments)
    desk, caller = server.ports.desk, session.caller
    values = {argument.name: each for argument, each in zip(spec.inputs, arguments, strict=True)}
    name = values["dataObject"].Value or ""
    if server.ports.policy is None or caller is None:
        outcome = Outcome.refused("role", "commands need an access policy", StatusCode.BadUserAccessDenied)
        return await _refused(server, session, (node, name), outcome, good)
    if desk is None or server.ports.audit is None:
        outcome = Outcome.refused("desk", "no commands here", StatusCode.BadNotSupported)
        return await _refused(server, session, (node, name), outcome, good)
    address = f"{node.owner}/{name}"
    if server.table.find(address) < 0 or not desk.controllable(address):
        text = f"{address} cannot be controlled"
        outcome = Outcome.refused("binding", text, StatusCode.BadInvalidArgument)
        return await _refused(server, session, (node, name), outcome, (int(ua.StatusCodes.BadOutOfRange), *good[1:]))
    value = None
    if "value" in values:
        value = _number(values["value"])
        if value is None:
            outcome = Outcome.refused("value", "the value is no Boolean and no number", StatusCode.BadInvalidArgument)
            results = (0, int(ua.StatusCodes.BadTypeMismatch), *good[2:])
            return await _refused(server, session, (node, name), outcome, results)
    command = Command(
        Verb(spec.name.lower()),
        address,
        value,
        issued_at,
        test=_flag(values, "test", default=False),
        interlock_check=_flag(values, "interlockCheck", default=True),
        synchro_check=_flag(values, "synchroCheck", default=True),
        reason=values["reason"].Value or "" if "reason" in values else "",
        request_id=values["requestId"].Value or "" if "requestId" in values else "",
    )
    run = {Verb.SELECT: desk.select, Verb.OPERATE: desk.operate, Verb.CANCEL: desk.cancel}[command.verb]
    # A command that is under way goes on to its outcome (and its audit) also when the client is gone.
    task = server.keep(_run(server, node.owner, run(command, caller), command))
    return _outcome(await asyncio.shield(task), good)


async def _run(server: InternalServer, owner: str, work: Coroutine[Any, Any, Outcome], command: Command) -> Outcome:
    outcome = await work
    record = {
        "commandId": outcome.command_id,
        "verb": str(command.verb),
        "dataObject": command.address.rpartition("/")[2],
        "value": command.value,
        "status": int(outcome.status),
        "addCause": int(outcome.add_cause),
        "gate": outcome.gate,
        "text": outcome.text,
    }
    server.space.last_commands[owner] = (record, clock.now())
    return outcome


async def _refused(
    server: InternalServer,
    session: Session,
    method: tuple[Node, str],
    outcome: Outcome,
    arguments: Sequence[int] = (),
) -> _Answer:
    """The answer to a command (node and name of the data object) that does not reach the desk, once it is audited."""
    (node, name), caller, audit = method, session.caller, server.ports.audit
    if audit is not None:
        record = AuditRecord(
            clock.now(),
            f"command.{node.member.lower()}.outcome",
            caller.user if caller is not None else "",
            caller.client if caller is not None else "",
            f"{node.owner}/{name[:_LONGEST_NAME]}",
            status=int(outcome.status),
            text=outcome.text[:_LONGEST_TEXT],
            details={"gate": outcome.gate, "addCause": int(outcome.add_cause), "sent": False},
        )
        try:
            await audit.append(record)
        except Exception:  # nothing left the gateway; the refusal stands
            _log.exception("the audit journal cannot be written")
    return _outcome(outcome, arguments)


async def _note_forbidden(server: InternalServer, session: Session, error: _ForbiddenMethodError) -> None:
    """That somebody tried what they may not is in the audit; the refusal stands without."""
    caller, audit = session.caller, server.ports.audit
    if audit is None:
        return
    user, client = (caller.user, caller.client) if caller is not None else ("", "")
    kind, status = "method.refused", int(error.status)
    details = {"method": error.node.member}
    record = AuditRecord(
        clock.now(), kind, user, client, error.node.owner, status=status, text=str(error), details=details
    )
    try:
        await audit.append(record)
    except Exception:
        _log.exception("the audit journal cannot be written")


def _flag(values: Mapping[str, Any], name: str, *, default: bool) -> bool:
    return bool(values[name].Value) if name in values else default


def _number(variant: Any) -> bool | int | float | None:
    value: Any = variant.Value
    if int(variant.VariantType) not in _NUMBERS or isinstance(value, list):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (bool, int, float)) else None


def _outcome(outcome: Outcome, arguments: Sequence[int]) -> _Answer:
    outputs = (
        _text(outcome.command_id),
        b"\x06" + pack_i32(int(outcome.add_cause)),
        _text(outcome.gate),
        _text(outcome.text),
    )
    text = f"{outcome.gate}: {outcome.text}" if outcome.gate else outcome.text
    return _Answer(int(outcome.status), outputs, text, arguments)


RAW_HANDLERS: dict[int, Handler] = {712: call}
"""Request type id -> handler."""
