"""What imports from live devices share: errors with a hint, a device to ask, a link for once, secrets, names."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from address_space.address import escape
from address_space.point import Batch
from twin_gateway.config import ConfigError, load_config
from twin_gateway.data_lock import DirectoryInUseError, locked
from twin_gateway.drivers.capture import Flow
from twin_gateway.drivers.contract import DeviceConfig
from twin_gateway.engineering.draft import Value

Progress = Callable[[str], None]
"""Told how far a reading is, one line each time."""


class LiveImportError(Exception):
    """A device cannot be asked; the message says why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(slots=True)
class Target:
    """One device to ask.

    Attributes:
        name: its section's name in the mapping file.
        said: how messages call it.
        fields: device section as it will be written: secrets by reference only.
        config: the section validated, secrets filled in; set by `configure`.
        place: area and site; empty when the command line says it.
        at: at-key for its points; empty when the command line says it.
        file: mapping file that it comes from.
    """

    name: str
    said: str
    fields: dict[str, Value]
    place: str = ""
    at: str = ""
    file: Path | None = None
    config: DeviceConfig | None = None


@dataclass(slots=True)
class OnceLink:
    """What a driver's parts get as their link when a device is asked once: nobody hears what they tell of it."""

    name: str
    data_directory: Path

    def up(self) -> None:
        """See contract.Link."""

    def publish(self, batch: Batch) -> None:
        """See contract.Link."""

    def event(
        self,
        code: str,
        text: str,
        *,
        severity: int = 400,
        address: str = "",
        source_time: int = 0,
        time_quality: str | None = None,
    ) -> None:
        """See contract.Link."""

    def count(self, counter: str, by: int = 1) -> None:
        """See contract.Link."""

    def kept_until(self) -> int:
        """See contract.Link."""
        return 0

    def error(self, text: str, address: str = "") -> None:
        """See contract.Link."""

    def connected(self, flow: Flow) -> None:
        """See contract.Link."""

    def traffic(self, sent: bool, octets: bytes) -> None:
        """See contract.Link."""


@contextlib.contextmanager
def kept(config: Path | None) -> Iterator[Path]:
    """The folder of what devices' keys have been used for: the gateway's while it does not run, else a new one.

    Raises:
        LiveImportError: the configuration cannot be read, or its gateway runs.
    """
    if config is None:
        with tempfile.TemporaryDirectory() as place:
            yield Path(place)
        return
    try:
        folder = load_config(config).data_directory
    except ConfigError as error:
        raise LiveImportError(str(error)) from error
    try:
        with locked(folder):
            yield folder / "links"
    except DirectoryInUseError as error:
        hint = "stop it first, or leave --config out where no device needs it"
        raise LiveImportError(
            f"the gateway of {config} runs, and numbers of its keys are not used twice", hint
        ) from error


def secret_of(reference: str, what: str) -> str:
    """The secret behind `${NAME}` or `file:PATH`.

    Raises:
        LiveImportError: it is no reference, or there is nothing behind it.
    """
    if match := re.fullmatch(r"\$\{(\w+)\}", reference):
        value = os.environ.get(match[1], "")
        if not value:
            raise LiveImportError(f"{what}: the environment variable {match[1]} is not set", "set it where this runs")
        return value
    if not reference.startswith("file:"):
        raise LiveImportError(f"{what} is no reference", "write '${NAME}' for an environment variable, or file:PATH")
    try:
        value = Path(reference.removeprefix("file:")).read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise LiveImportError(f"{what}: the file of the secret cannot be read") from error
    if not value:
        raise LiveImportError(f"{what}: the file of the secret is empty")
    return value


def name_of(prefix: str, text: str) -> str:
    """A name for a device: `meter-10-9-3-2`; a level of addresses has no dots."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_") or "1"
    return (f"{prefix}-{plain}" if prefix else plain)[:48].rstrip("-")


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, with a number behind it where another device is called so: `meter-7`, `meter-7-2`."""
    tries = (f"{name}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain((name,), tries) if each not in taken)


def place_of(pattern: str, names: Mapping[str, str]) -> str:
    """A place or at-key with `{name}`, `{host}`, `{serial}` filled in, each as one level.

    Raises:
        LiveImportError: a name in braces that there is none for.
    """

    def filled(match: re.Match[str]) -> str:
        value = names.get(match[1], "")
        if not value:
            known = ", ".join(f"{{{name}}}" for name, text in sorted(names.items()) if text)
            raise LiveImportError(f"'{pattern}': the device has no {{{match[1]}}}", f"there are {known}")
        return escape(value)

    return re.sub(r"\{(\w*)\}", filled, pattern)
