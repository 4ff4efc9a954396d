"""The mapping and configuration of a gateway over one IEC 104 device with one point and its alarm rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peers.gateway_config import gateway_config

from twin_gateway.config import GatewayConfig
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping

MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu1:
    protocol: iec104
    host: 127.0.0.1
    port: {port}
    common_address: 7
    at:
      MV1/F01:
        points:
          {point}
"""


def configured(folder: Path, port: int, point: str, **opcua: Any) -> tuple[GatewayConfig, Mapping]:
    """What a gateway is made of; `point` is the point's line of the mapping, `opcua` more of that section."""
    path = folder / "station.yaml"
    path.write_text(MAPPING.format(port=port, point=point))
    mapping, problems = check([path])
    assert mapping is not None, [str(problem) for problem in problems]
    return gateway_config(folder, path, opcua={"port": 0, **opcua}), mapping
