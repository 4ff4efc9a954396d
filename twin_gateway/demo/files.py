"""The files of the demo: where they are, and what is made of them for one run."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from twin_gateway.mapping.model import Mapping
from twin_gateway.security.passwords import hash_password
from twin_gateway.security.users import User, save_users

GRID = "grid.yaml"


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


def lay_out(demo: Path, folder: Path) -> Path:
    """Copy the mapping files to where they can be edited; those that are there already stay as they have been edited.

    Args:
        demo: folder `mappings/demo` of the project.
        folder: of the run; the files lie in its `mappings`.

    Returns:
        The folder `mappings/demo` of the run.
    """
    copies = folder / "mappings"
    for origin in (demo.parent / "templates", demo):
        if not (copies / origin.name).exists():
            making = copies / f".{origin.name}.new"
            shutil.rmtree(making, ignore_errors=True)
            # The configuration is made for each run, and lies above.
            leave = shutil.ignore_patterns("gateway.yaml")
            shutil.copytree(origin, making, ignore=leave, copy_function=shutil.copyfile)
            making.rename(copies / origin.name)
    return copies / demo.name


def make_secrets() -> dict[str, str]:
    """Keys and passwords of the simulated meters, for the environment of the demo's processes."""
    return {
        "TWIN_DEMO_METER_AK": secrets.token_hex(16),
        "TWIN_DEMO_METER_EK": secrets.token_hex(16),
        "TWIN_DEMO_METER_PASSWORD": secrets.token_hex(4),
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; who reads meanwhile finds the old one or the new one, whole."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
    fresh.replace(path)


def ports_of(mapping: Mapping) -> dict[int, str]:
    """Names of the devices by the ports that their simulators need."""
    found: dict[int, str] = {}
    for device in mapping.devices:
        config: Any = device.config
        port = getattr(config, "port", None) or urlsplit(getattr(config, "uri", "")).port
        if port:
            found.setdefault(int(port), device.name)
    return found


def make_operator(folder: Path) -> str:
    """Make the user `operator`; the password, which is also in `operator.txt` of the folder."""
    password = secrets.token_urlsafe(9)
    save_users(folder / "users.yaml", {"operator": User(password=hash_password(password), roles=("Operator",))})
    write_private(folder / "operator.txt", f"operator {password}\n")
    return password


def write_gateway(demo: Path, folder: Path, *, opcua: int, http: int, mqtt: int | None, control: int) -> Path:
    """The configuration of the demo for the files of one run, with its ports set; the file made.

    Args:
        demo: folder `mappings/demo` of the project.
        folder: of the run, laid out.
        opcua: port of the endpoint.
        http: port of health and metrics.
        mqtt: port of the broker; without one nothing is mirrored.
        control: port of the simulated field.
    """
    config = yaml.safe_load((demo / "gateway.yaml").read_text("utf-8"))

    def laid_out(path: str) -> str:
        return os.path.normpath(Path("mappings") / demo.name / path)

    config["mappings"] = [laid_out(path) for path in config["mappings"]]
    config["opcua"]["port"], config["http"]["port"] = opcua, http
    config["twin"]["grid"] = [laid_out(path) for path in config["twin"]["grid"]]
    config["twin"]["switchgear"]["nameplates"] = laid_out(config["twin"]["switchgear"]["nameplates"])
    config["twin"]["injection"]["control"] = control
    if mqtt is None:
        del config["mqtt"]
    else:
        config["mqtt"]["port"] = mqtt
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path
