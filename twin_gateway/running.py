"""Running a gateway from its configuration file, and asking a configuration without running it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import resource
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import uvloop

from address_space import clock
from address_space.alias import Resolution
from address_space.events import EventJournal
from address_space.opcua.security import CertificateError
from address_space.opcua.settings import SettingsError
from address_space.table import PointTable
from twin_gateway.config import ConfigError, GatewayConfig, load_config
from twin_gateway.data_lock import DirectoryInUseError, locked
from twin_gateway.gateway import Gateway
from twin_gateway.grid.model import Grid
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.logs import set_up_logging
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping
from twin_gateway.memory import keep_given_back
from twin_gateway.plant import build_plant
from twin_gateway.revisions import keep
from twin_gateway.schemes import make_book
from twin_gateway.security.users import UsersError, load_users

log = logging.getLogger(__name__)


def load(path: Path, *, keep_results: bool = False) -> tuple[GatewayConfig, Mapping]:
    """Configuration and mapping, checked; prints what is wrong.

    Args:
        path: the configuration file.
        keep_results: what unchanged files of a large mapping come to is kept in the data directory for the next time.

    Raises:
        ConfigError: when either has an error.
    """
    config = load_config(path)
    cache = config.results if keep_results else None
    mapping, problems = check(config.mappings, cache=cache)
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201 - the command line's own output
    if mapping is None:
        raise ConfigError(f"{path}: the mapping files have errors, the gateway does not start with them")
    return config, mapping


def load_grid(config: GatewayConfig) -> Grid:
    """The grid model that a configuration names, checked; prints what is wrong. Empty when it names none.

    Raises:
        ConfigError: when it has an error.
    """
    paths = config.twin.grid if config.twin is not None else ()
    if not paths:
        return Grid()
    cim = [path for path in paths if path.suffix.lower() == ".xml"]
    if cim and len(cim) != len(paths):
        raise ConfigError(
            "twin.grid: name either YAML files or CIM files; `twin-gateway grid convert` makes YAML of CIM"
        )
    if cim:
        from twin_gateway.grid.cim import read_cim

        reading = read_cim(cim, grid=config.grid)
        grid, problems = reading.grid, reading.problems
    else:
        grid, problems = read_grid(paths)
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201 - the command line's own output
    if grid is None:
        raise ConfigError("the grid model has errors, the gateway does not start with it")
    return grid


def run_gateway(path: Path, *, started: Callable[[Gateway], None] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    # Until it serves, millions of objects are made and hardly one is let go: looking for garbage would only take time.
    gc.disable()
    with contextlib.ExitStack() as stack:
        stack.callback(gc.enable)
        try:
            config, mapping = load(path, keep_results=True)
            grid = load_grid(config)
            set_up_logging(config.log.level, config.log.format)
            users = load_users(config.users) if config.users.exists() or config.opcua.anonymous == "none" else {}
            raise_file_limit()
            stack.enter_context(locked(config.data_directory))
            revision = keep(config.data_directory, mapping)
            gateway = Gateway(config, mapping, users, grid=grid, revision=revision)
            del mapping  # the gateway has it, until it changes to another
            gateway.control.offer(revision.handlers)
        except (ConfigError, UsersError, DirectoryInUseError, OSError) as error:
            return _complain(error)
        except sqlite3.Error as error:
            return _complain(f"a database in {config.data_directory} cannot be used: {error}")
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        return runner.run(_serve(gateway, started))


def _complain(error: Exception | str) -> int:
    print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command line's own output
    return 1


def raise_file_limit() -> None:
    """As many open files as this process may have: each link needs a socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(gateway: Gateway, started: Callable[[Gateway], None] | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await gateway.start()
    except sqlite3.Error as error:
        return _complain(f"a database in {gateway.config.data_directory} cannot be used: {error}")
    except (OSError, CertificateError, SettingsError) as error:
        return _complain(error)
    # What has been built stays: a collection that looks at all of it again would hold up the event loop for long.
    gc.collect()
    gc.freeze()
    gc.enable()
    gateway.spawn("memory", keep_given_back)
    if started is not None:
        started(gateway)
    await stop.wait()
    log.info("stopping")
    await gateway.stop()
    return 0


def resolve_text(path: Path, text: str, *, as_json: bool) -> int:
    """Print what an address or alias means; exit code 1 when it means nothing."""
    try:
        config, mapping = load(path)
    except ConfigError as error:
        return _complain(error)
    table = PointTable()
    plant = build_plant(
        mapping,
        table,
        EventJournal(),
        grid=config.grid,
        gateway=config.gateway,
        data_directory=config.data_directory,
    )
    found = make_book(mapping, plant.aliases, table, config.authority).resolve(text)
    if as_json:
        print(json.dumps(asdict(found)))  # noqa: T201 - the command line's own output
    else:
        print(_readable(text, found))  # noqa: T201 - the command line's own output
    return 0 if found.found else 1


def _readable(text: str, found: Resolution) -> str:
    stone = found.tombstone
    if not found.found and stone is not None:
        after = f"; {stone.successor} took its place" if stone.successor else ""
        return f"{stone.address} was retired on {clock.iso(stone.retired_at)[:10]}: {stone.reason}{after}"
    if not found.found:
        near = f"; did you mean {' or '.join(found.nearest)}?" if found.nearest else ""
        return f"{text!r} names nothing here{near}"
    lines = [
        f"address   {found.address}",
        f"kind      {found.kind}",
        f"NodeId    {found.node_id}",
        f"topic     {found.topic}",
        f"URI       {found.uri}",
    ]
    lines += [f"{item.role:9} {item.driver}:{item.point}" for item in found.bindings]
    lines += [f"alias     {alias}" for alias in found.aliases]
    return "\n".join(lines)
