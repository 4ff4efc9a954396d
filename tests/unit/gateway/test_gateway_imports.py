"""What a gateway loads that its configuration does not ask for: nothing large."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

_LARGE = (
    "power_grid_model",
    "duckdb",
    "aiocoap",
    "uvicorn",
    "starlette",
    "paho",
    "twin_gateway.functions.compose",
    "twin_gateway.functions.section",
    "twin_gateway.grid.cim",
    "twin_gateway.history.service",
    "twin_gateway.mqtt.mirror",
    "twin_gateway.drivers.coap.driver",
    "twin_gateway.drivers.dlms.driver",
    "twin_gateway.drivers.iec61850.driver",
)
_BUILD = """
import sys
from pathlib import Path
from twin_gateway import cli
from twin_gateway.running import Gateway, keep, load, load_grid

config, mapping = load(Path(sys.argv[1]))
config.data_directory.mkdir()
Gateway(config, mapping, {}, grid=load_grid(config), revision=keep(config.data_directory, mapping))
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""
_MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu:
    protocol: iec104
    host: 127.0.0.1
    common_address: 1
    at:
      MV1/F1: {points: {MMXU1/Hz: {ioa: 1, type: M_ME_TF_1, unit: Hz}}}
"""
_PLAIN = """\
gateway: gw1
grid: dso1
authority: https://example.org
mappings: [map.yaml]
http: null
history: {enabled: false}
"""


def _loaded(folder: Path, more: str = "") -> set[str]:
    (folder / "map.yaml").write_text(_MAPPING, "utf-8")
    (folder / "gateway.yaml").write_text(_PLAIN + more, "utf-8")
    command = [sys.executable, "-c", _BUILD, str(folder / "gateway.yaml"), *_LARGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_what_is_large_is_there_by_these_names() -> None:
    assert [name for name in _LARGE if importlib.util.find_spec(name) is None] == []


def test_a_plain_gateway_of_104_stations_loads_no_twin_no_broker_no_http_and_no_other_protocol(tmp_path: Path) -> None:
    assert _loaded(tmp_path) == set()


def test_what_the_configuration_asks_for_is_loaded_before_the_gateway_starts(tmp_path: Path) -> None:
    loaded = _loaded(tmp_path, "mqtt: {host: 127.0.0.1}\ntwin: {place: dso1/north}\n")

    assert {"twin_gateway.mqtt.mirror", "twin_gateway.functions.compose"} <= loaded
