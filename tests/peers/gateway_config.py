"""The configuration of a gateway in the process of a test: ports that are free, everything in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twin_gateway.config import GatewayConfig


def gateway_config(folder: Path, *mappings: Path, **sections: Any) -> GatewayConfig:
    """The gateway `gw1` of the grid `dso1`.

    Args:
        folder: for its data.
        mappings: its mapping files; `station.yaml` of the folder when there are none.
        sections: add to what follows, or replace it.
    """
    usual = {
        "gateway": "gw1",
        "grid": "dso1",
        "authority": "https://example.org",
        "mappings": mappings or (folder / "station.yaml",),
        "data_directory": folder / "data",
        "opcua": {"port": 0, "anonymous": "observe"},
        "http": {"port": 0},
    }
    return GatewayConfig.model_validate(usual | sections)
