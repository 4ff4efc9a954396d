"""The files of the demo: where they are, and what is made of them for one run."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from twin_gateway.security.passwords import hash_password
from twin_gateway.security.users import User, save_users

SIMULATORS = "simulators"
_REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)\}")


class DemoError(RuntimeError):
    """The demo cannot run here; the message says why and what to do."""


def find_mappings() -> Path:
    """The folder `mappings` of the project.

    Raises:
        DemoError: it is nowhere.
    """
    places = [
        Path(__file__).parents[2] / "mappings",
        Path.cwd() / "mappings",
        Path(sys.prefix) / "share" / "twin-gateway" / "mappings",
    ]
    for place in places:
        if (place / "demo" / "gateway.yaml").is_file():
            return place
    looked = ", ".join(map(str, places))
    raise DemoError(f"the demo's files (mappings/demo) are in none of {looked}; run it in a clone of the project")


def make_secrets() -> dict[str, str]:
    """Keys and passwords of the simulated meters, for the environment of the demo's processes."""
    return {
        "TWIN_DEMO_METER_AK": secrets.token_hex(16),
        "TWIN_DEMO_METER_EK": secrets.token_hex(16),
        "TWIN_DEMO_METER_PASSWORD": secrets.token_hex(4),
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


@dataclass(frozen=True, slots=True)
class SimulatorFile:
    """One simulator: the file it runs from, ready to use.

    Attributes:
        protocol: `iec104`, `dlms` or `coap`: the suffix of the file.
        path: the file with its secrets filled in.
        content: what stands in it.
        devices: names of the devices that it plays.
    """

    protocol: str
    path: Path
    content: Mapping[str, Any]
    devices: tuple[str, ...]


def prepare_simulators(source: Path, target: Path, environment: Mapping[str, str]) -> list[SimulatorFile]:
    """Fill the secrets into the simulators' files.

    Args:
        source: the folder `simulators`; the suffix of a file is its protocol.
        target: takes the filled files.
        environment: where `${NAME}` is looked up.
    """
    target.mkdir(mode=0o700, exist_ok=True)
    found = []
    for file in sorted(source.iterdir()):
        protocol = file.suffix[1:]
        if protocol not in {"iec104", "dlms", "coap"}:
            continue
        text = _REFERENCE.sub(lambda match: environment[match[1]], file.read_text("utf-8"))
        write_private(target / file.name, text)
        content = yaml.safe_load(text)
        named = content.get("meters") or content.get("devices")
        devices = tuple(named) if named else (file.stem,)
        found.append(SimulatorFile(protocol, target / file.name, content, devices))
    return found


def registers_of(files: list[SimulatorFile]) -> dict[tuple[str, str], str]:
    """Unit of each register by meter and OBIS code."""
    found: dict[tuple[str, str], str] = {}
    for file in files:
        if file.protocol != "dlms":
            continue
        for meter, fields in file.content["meters"].items():
            registers = {**file.content.get("defaults", {}), **fields}.get("registers", {})
            found |= {(meter, code): str(register.get("unit", "1")) for code, register in registers.items()}
    return found


def make_operator(folder: Path) -> str:
    """Make the user `operator`; the password, which is also in `operator.txt` of the folder."""
    password = secrets.token_urlsafe(9)
    save_users(folder / "users.yaml", {"operator": User(password=hash_password(password), roles=("Operator",))})
    write_private(folder / "operator.txt", f"operator {password}\n")
    return password


def write_gateway(demo: Path, folder: Path, *, opcua: int, http: int, mqtt: int | None) -> Path:
    """The configuration of the demo with its relative paths resolved and its ports set; the file made."""
    config = yaml.safe_load((demo / "gateway.yaml").read_text("utf-8"))
    config["mappings"] = [os.path.normpath(demo / path) for path in config["mappings"]]
    config["data_directory"], config["users"] = str(folder / "data"), str(folder / "users.yaml")
    config["opcua"]["port"], config["http"]["port"] = opcua, http
    if mqtt is None:
        del config["mqtt"]
    else:
        config["mqtt"]["port"] = mqtt
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path
