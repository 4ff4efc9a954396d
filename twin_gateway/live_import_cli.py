"""The command line's part for imports from live devices: `import dlms`, `import coap`, `import opcua`."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from twin_gateway.engineering.mode import Mode
from twin_gateway.text_files import replace_text

if TYPE_CHECKING:
    from twin_gateway.engineering.coap_import_read import DeviceContent
    from twin_gateway.engineering.live_import import LiveImportError, Target
    from twin_gateway.engineering.live_import_file import Written
    from twin_gateway.engineering.memory import Memory
    from twin_gateway.mapping.problem import Problem

T = TypeVar("T")
_SIDE_BY_SIDE: Final = 8
_EVERY_S: Final = 5.0

Into = Annotated[
    Path | None,
    typer.Option(help="Folder of mapping files, or the file, named .yaml; standard output if not given."),
]
GridOption = Annotated[str, typer.Option(help="Level 1 of the addresses; that of the mapping file unless given.")]
DeviceOption = Annotated[list[str] | None, typer.Option(help="Only these devices of the mapping files.")]
EveryOption = Annotated[bool, typer.Option("--all", help="Points also for what has no known place, under GGIO.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="A field of the device section, NAME=VALUE; secrets only as '${NAME}' or file:PATH."),
]
ModeOption = Annotated[
    Mode, typer.Option(help="For a mapping file that exists: leave it, put in what is new, or write it anew.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="gateway.yaml whose numbers of keys are used on; that gateway must not run."),
]
Templates = Annotated[bool, typer.Option(help="Make templates of places that repeat.")]
Partial = Annotated[bool, typer.Option("--partial", help="Write what was read although other devices failed.")]
Json = Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")]


class Telling:
    """How far a long reading is, on standard error: one line that changes on a terminal, a line now and then else."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic()
        self._shown = 0

    def __call__(self, text: str) -> None:
        """Tell a step."""
        if self._quiet:
            return
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            typer.echo(f"\r{text[:width]:<{min(self._shown, width)}}", err=True, nl=False)
            self._shown = len(text)
        elif time.monotonic() - self._last >= _EVERY_S:
            self._last = time.monotonic()
            typer.echo(text, err=True)

    def done(self) -> None:
        """Clear the line that changes."""
        if self._shown:
            typer.echo(f"\r{'':<{self._shown}}\r", err=True, nl=False)
            self._shown = 0


def fail(error: LiveImportError, *, as_json: bool) -> typer.Exit:
    """Say an error and its hint; the exit to raise."""
    if as_json:
        document = {"ok": False, "failed": [{"message": str(error), "hint": error.hint}]}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return typer.Exit(1)
    hint = f"; {error.hint}" if error.hint else ""
    typer.echo(f"error: {error}{hint}; nothing is written", err=True)
    return typer.Exit(1)


def ask_all(
    targets: Sequence[Target], read: Callable[[Target, Telling], Awaitable[T]], *, quiet: bool
) -> tuple[list[tuple[Target, T]], list[LiveImportError]]:
    """Read all devices, some at a time; what was read in the devices' order, and what failed."""
    from twin_gateway.engineering.live_import import LiveImportError

    telling = Telling(quiet=quiet)
    finished = 0

    async def one(target: Target, places: asyncio.Semaphore) -> T | LiveImportError:
        nonlocal finished
        async with places:
            try:
                return await read(target, telling)
            except LiveImportError as error:
                return error
            finally:
                finished += 1
                telling(f"{finished} of {len(targets)} devices")

    async def together() -> list[T | LiveImportError]:
        places = asyncio.Semaphore(_SIDE_BY_SIDE)
        return await asyncio.gather(*(one(target, places) for target in targets))

    try:
        answers = asyncio.run(together())
    finally:
        telling.done()
    good = [
        (target, answer)
        for target, answer in zip(targets, answers, strict=True)
        if not isinstance(answer, LiveImportError)
    ]
    return good, [answer for answer in answers if isinstance(answer, LiveImportError)]


def finish(
    written: Written | None,
    failed: Sequence[LiveImportError],
    notes: Sequence[str],
    *,
    as_json: bool,
    partial_helps: bool = False,
) -> typer.Exit:
    """Write the file, tell everything; the exit to raise.

    Raises:
        LiveImportError: the file cannot be written.
    """
    text = written.text if written is not None else None
    if written is not None and text is not None and written.target is not None:
        written.problems += _write(written.target, text, written.memory)
    if as_json:
        document = {
            "ok": text is not None and not failed,
            "target": str(written.target) if written is not None and written.target is not None else None,
            "points": written.points if written is not None else 0,
            "added": written.added if written is not None else None,
            "changed": written.changed if written is not None else [],
            "failed": [{"message": str(error), "hint": error.hint} for error in failed],
            "notes": list(notes),
            "problems": [problem.as_json() for problem in written.problems] if written is not None else [],
        }
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _tell(written, failed, notes, partial_helps=partial_helps)
    return typer.Exit(0 if text is not None and not failed else 1)


def _tell(
    written: Written | None, failed: Sequence[LiveImportError], notes: Sequence[str], *, partial_helps: bool
) -> None:
    for error in failed:
        typer.echo(f"error: {error}{f'; {error.hint}' if error.hint else ''}", err=True)
    for problem in written.problems if written is not None else ():
        typer.echo(str(problem), err=True)
    for note in notes:
        typer.echo(note, err=True)
    if written is None or written.text is None:
        others = " (--partial writes the others)" if partial_helps else ""
        typer.echo(f"nothing is written{others}", err=True)
    elif written.target is None:
        typer.echo(written.text, nl=False)
    elif written.added is None:
        typer.echo(f"made {written.target}: {_points(written.points)}", err=True)
    else:
        counts = f"{len(written.added)} new, {len(written.changed)} changed"
        typer.echo(f"merged into {written.target}: {counts}", err=True)


def _points(count: int) -> str:
    return f"{count} point line{'s' if count != 1 else ''}"


def _write(target: Path, text: str, memory: Memory | None = None) -> list[Problem]:
    """Write the file, and keep what was imported beside it; a warning when that cannot be kept.

    Raises:
        LiveImportError: it cannot be written.
    """
    from twin_gateway.engineering.live_import import LiveImportError
    from twin_gateway.engineering.memory import keep

    try:
        replace_text(target, text)
    except OSError as error:
        raise LiveImportError(f"{target} cannot be written: {error.strerror}") from error
    return keep(target, memory) if memory is not None else []


def dlms(
    meters: Annotated[
        list[str], typer.Argument(help="HOST[:PORT] of meters, or mapping files whose DLMS devices are asked.")
    ],
    grid: GridOption = "",
    place: Annotated[
        str, typer.Option(help="Area and site: north/SP417, or north/{name}; also {host}, {serial}, {device}.")
    ] = "",
    at: Annotated[
        str, typer.Option(help="At-key of the meter's points, with the same names in braces.")
    ] = "_/_/{name}",
    name: Annotated[
        str, typer.Option(help="What devices are called that no file names: meter-{serial}; by host unless given.")
    ] = "",
    device: DeviceOption = None,
    settings: SetOption = None,
    into: Into = None,
    mode: ModeOption = Mode.CREATE,
    every: EveryOption = False,
    config: ConfigOption = None,
    templates: Templates = True,
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Make a mapping file of what meters say they have: registers, profiles, logs, disconnector.

    Meters are only read. Exit code 1 when one could not be; nothing is written then, unless --partial is given.
    """
    from twin_gateway.engineering.dlms_import import draft_meters
    from twin_gateway.engineering.dlms_import_read import read_meter
    from twin_gateway.engineering.live_import import LiveImportError, kept
    from twin_gateway.engineering.live_import_file import refuse_existing, settle, target_of
    from twin_gateway.engineering.live_import_targets import gather_targets

    try:
        asked = gather_targets(
            meters, "dlms", settings or [], only=device or [], grid=grid, place=place, into=into, mode=mode
        )
        target = target_of(asked.into, asked.stem)
        refuse_existing(target, mode)
        with kept(config) as folder:
            found, failed = ask_all(
                asked.targets,
                lambda one, telling: read_meter(
                    one, folder, lambda text: telling(f"{one.name}: {text}"), every=every, kept=config is not None
                ),
                quiet=as_json,
            )
        if not found or (failed and not partial):
            raise finish(None, failed, [], as_json=as_json, partial_helps=bool(found))
        draft, parts = draft_meters(found, grid=asked.grid, place=place, at=at, name=name, every=every)
        written = settle(draft, target, mode, templates=templates)
        notes = [_unplaced(part.device.name, len(part.unplaced), "objects", every=every) for part in parts]
        raise finish(written, failed, notes, as_json=as_json)
    except LiveImportError as error:
        raise fail(error, as_json=as_json) from error


def coap(
    devices: Annotated[
        list[str], typer.Argument(help="HOST[:PORT] or URI of devices, or mapping files whose CoAP devices are asked.")
    ],
    grid: GridOption = "",
    place: Annotated[
        str, typer.Option(help="Area and site: north/RMU1, or north/{name}; also {host} and {endpoint}.")
    ] = "",
    at: Annotated[str, typer.Option(help="At-key of the points, with the same names in braces.")] = "_/_/{name}",
    directory: Annotated[
        bool, typer.Option("--directory", help="Ask a resource directory for its endpoints and their links.")
    ] = False,
    registered: Annotated[
        bool, typer.Option("--registered", help="Of a directory: sections say `endpoint:` instead of `uri:`.")
    ] = False,
    values: Annotated[bool, typer.Option(help="Fetch each resource once, to learn types, records and units.")] = True,
    device: DeviceOption = None,
    settings: SetOption = None,
    into: Into = None,
    mode: ModeOption = Mode.CREATE,
    every: EveryOption = False,
    config: ConfigOption = None,
    templates: Templates = True,
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Make a mapping file of what CoAP devices list: objects of LwM2M and IPSO, SenML records, plain resources.

    Devices are only read. Exit code 1 when one could not be; nothing is written then, unless --partial is given.
    """
    from twin_gateway.engineering.coap_import import draft_sensors, endpoints_of
    from twin_gateway.engineering.coap_import_read import read_device, read_directory
    from twin_gateway.engineering.flow import one_line
    from twin_gateway.engineering.live_import import LiveImportError, kept
    from twin_gateway.engineering.live_import_file import refuse_existing, settle, target_of
    from twin_gateway.engineering.live_import_targets import gather_targets

    try:
        asked = gather_targets(
            devices, "coap", settings or [], only=device or [], grid=grid, place=place, into=into, mode=mode
        )
        target = target_of(asked.into, asked.stem)
        refuse_existing(target, mode)
        own, notes = config is not None, list[str]()
        with kept(config) as folder:
            if directory:
                listed, failed = ask_all(
                    asked.targets,
                    lambda one, telling: read_directory(one, folder, telling, kept=own),
                    quiet=as_json,
                )
                found: list[tuple[Target, DeviceContent]] = []
                names: set[str] = set()
                notes = [f"{one.name}: {left} endpoints more are left out" for one, (_, left) in listed if left]
                for one, (contents, _) in listed:
                    found += zip(endpoints_of(one, contents, names, registered=registered), contents, strict=True)
                if not found and not failed:
                    raise LiveImportError("nobody is registered in the directory", "ask again when devices are")
            else:
                found, failed = ask_all(
                    asked.targets,
                    lambda one, telling: read_device(
                        one, folder, lambda text: telling(f"{one.name}: {text}"), values=values, kept=own
                    ),
                    quiet=as_json,
                )
        if not found or (failed and not partial):
            raise finish(None, failed, [], as_json=as_json, partial_helps=bool(found))
        draft, parts = draft_sensors(found, grid=asked.grid, place=place, at=at, every=every)
        notes += [_unplaced(part.device.name, len(part.unplaced), "values", every=every) for part in parts]
        if not draft.devices:
            typer.echo("\n".join(map(one_line, draft.header[1:] + notes)), err=True)
            raise LiveImportError("no value has a place", "" if every else "--all gives them generic places")
        written = settle(draft, target, mode, templates=templates)
        raise finish(written, failed, notes, as_json=as_json)
    except LiveImportError as error:
        raise fail(error, as_json=as_json) from error


def _unplaced(name: str, count: int, what: str, *, every: bool) -> str:
    more = "" if every or not count else " (--all gives them generic places)"
    return f"{name}: {count} {what} without a point{more}"


def opcua(
    url: Annotated[str, typer.Argument(help="The other server: opc.tcp://10.4.7.10:4840.")],
    node: Annotated[str, typer.Option(help="NodeId to begin at: ns=2;s=Plant.")] = "i=85",
    into: Annotated[
        Path | None, typer.Option(help="Folder, or the file, named .csv; standard output if not given.")
    ] = None,
    mode: ModeOption = Mode.CREATE,
    user: Annotated[str, typer.Option(help="User name; anonymous if not given.")] = "",
    password: Annotated[str, typer.Option(help="Where its password is: '${NAME}' or file:PATH.")] = "",
    policy: Annotated[
        str,
        typer.Option(help="Security policy, such as Basic256Sha256; with --certificate, --key, --server-certificate."),
    ] = "",
    certificate: Annotated[Path | None, typer.Option(help="Our certificate.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    server_certificate: Annotated[
        Path | None, typer.Option(help="The only one of the server that is accepted.")
    ] = None,
    most: Annotated[int, typer.Option(help="Nodes that are browsed at most.", min=1, max=5_000_000)] = 200_000,
    depth: Annotated[int, typer.Option(help="Levels below the first node.", min=1, max=100)] = 24,
    timeout: Annotated[float, typer.Option(help="Seconds for an answer.", min=0.1, max=600)] = 10.0,
    as_json: Json = False,
) -> None:
    """Make a point list of another OPC UA server's names, types, units and aliases; bindings are to be filled in.

    `import csv` makes a mapping file of it. Nothing is written to the server. Exit code 1 on an error.
    """
    from twin_gateway.engineering.flow import one_line
    from twin_gateway.engineering.live_import import LiveImportError, secret_of
    from twin_gateway.engineering.live_import_file import refuse_existing, target_of
    from twin_gateway.engineering.opcua_import import make_list, merged, text_of
    from twin_gateway.engineering.opcua_import_browse import run_reading
    from twin_gateway.engineering.opcua_import_space import POLICIES, Access, Limits

    telling = Telling(quiet=as_json)
    try:
        if policy and policy not in POLICIES:
            raise LiveImportError(f"no security policy {policy}", f"there are {', '.join(POLICIES)}")
        files = (certificate, key, server_certificate)
        if policy and not all(files):
            what = "a security policy needs --certificate, --key and --server-certificate"
            raise LiveImportError(what, "the server's is in its own folder of certificates")
        missing = [str(file) for file in files if file is not None and not file.is_file()]
        if missing:
            raise LiveImportError(f"there is no file {missing[0]}")
        secret = secret_of(password, "--password") if password else ""
        target = target_of(into, _stem(url), ".csv")
        refuse_existing(target, mode)
        access = Access(user, secret, policy, certificate, key, server_certificate, timeout)
        try:
            space = run_reading(url, node, access, Limits(most, depth), telling)
        finally:
            telling.done()
        found = make_list(space)
        if not found.rows:
            raise LiveImportError(f"{url}: no variable below {node}", "begin at another node")
        refuse_existing(target, mode)  # it may have been made while the server was read
        text, fresh, gone = text_of(found.rows), len(found.rows), 0
        if target is not None and target.exists() and mode is Mode.MERGE:
            text, fresh, gone = merged(target, found)
        if target is not None:
            _write(target, text)
    except LiveImportError as error:
        raise fail(error, as_json=as_json) from error
    counts = {
        "variables": len(found.rows),
        "addressed": found.addressed,
        "bound": found.bound,
        "new": fresh,
        "gone": gone,
    }
    if as_json:
        document = {"ok": True, "target": str(target) if target else None, **counts, "notes": space.notes}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for note in space.notes:
        typer.echo(one_line(note), err=True)
    if target is None:
        typer.echo(text, nl=False)
    typer.echo(
        f"{len(found.rows)} variables, {found.addressed} of them with an address, {found.bound} with a 104 object; "
        f"{found.folded} more are parts of these",
        err=True,
    )
    if target is not None:
        more = f"; {gone} lines of nodes that are gone are kept" if gone else ""
        typer.echo(f"made {target}: {fresh} new lines{more}", err=True)


def _stem(url: str) -> str:
    from urllib.parse import urlsplit

    from twin_gateway.engineering.live_import import LiveImportError, name_of

    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
        if parts.username is not None:
            # Not shown: it may have a password in it.
            raise LiveImportError("a user name in the URL", "name it with --user and --password '${NAME}'")
    except ValueError:
        host = None
    if not host or not url.startswith("opc.tcp://"):
        raise LiveImportError(f"'{url}' is no URL of a server", "as in opc.tcp://10.4.7.10:4840")
    return name_of("opcua", host)
