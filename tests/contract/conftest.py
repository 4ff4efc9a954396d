"""One device of each protocol for the contract suite."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from peers.driver_bed import Bed, Case
from peers.ports import free_port

from twin_gateway.drivers.registry import protocol_names

CASES = (
    Case(
        "iec104",
        "stations:\n- common_address: 7\n  points:\n  - {ioa: 10, type: M_DP_TB_1, value: 2}\n"
        "  - {ioa: 20, type: M_ME_TF_1, value: 12.5}\n  - {ioa: 30, type: M_ME_TF_1, value: 50}\n"
        "  commands:\n  - {ioa: 4010, type: C_DC_NA_1, model: direct, moves: 10, travel: 0.1}\n"
        "  - {ioa: 4011, type: C_DC_NA_1, model: direct, refuse: true}\n",
        "  dev: {protocol: iec104, host: 127.0.0.1, port: {port}, common_address: 7,\n"
        "    t1: 3 s, t2: 1 s, t3: 3 s, at: {MV1/F05: {points: {\n"
        "    QA1/CSWI1/Pos: {ioa: 10, type: M_DP_TB_1, control: {ioa: 4010, type: C_DC_NA_1, model: direct-normal}},\n"
        "    QB1/CSWI1/Pos: {ioa: 11, type: M_DP_TB_1, control: {ioa: 4011, type: C_DC_NA_1, model: direct-normal}},\n"
        "    MMXU1/TotW: {ioa: 20, type: M_ME_TF_1, unit: W}, MMXU1/Hz: {ioa: 30, type: M_ME_TF_1, unit: Hz}}}}}\n",
        ("--port", "{port}"),
    ),
    Case(
        "iec61850",
        "mappings/demo/scl/F07Q1.cid",
        "  dev: {protocol: iec61850, host: 127.0.0.1, port: {port}, ied: F07Q1, at: {MV1/F05: {points: {\n"
        "    QA1/CSWI1/Pos: {ref: LD0/CSWI1.Pos, control: {model: device}},\n"
        "    MMXU1/TotW: {ref: LD0/MMXU1.TotW}, MMXU1/Hz: {ref: LD0/MMXU1.Hz}}}}}\n",
        ("--port", "{port}"),
        selects=True,
    ),
    Case(
        "dlms",
        "port: {port}\nmeters:\n  m1:\n    registers:\n      1-0:1.7.0: {value: 1520, unit: W}\n"
        "      1-0:14.7.0: {value: 50, unit: Hz}\n    disconnector: connected\n",
        "  dev: {protocol: dlms, host: 127.0.0.1, port: {port}, poll: 0.5 s, at: {LV1/_/M1: {points: {\n"
        "    MMXU1/TotW: {obis: 1-0:1.7.0}, MMXU1/Hz: {obis: 1-0:14.7.0}}}}}\n",
    ),
    Case(
        "coap",
        "devices:\n  dev:\n    port: {port}\n    resources:\n"
        "      /p: {text: 1520, max_age: 5}\n      /f: {text: 50, max_age: 5}\n",
        "  dev: {protocol: coap, uri: 'coap://127.0.0.1:{port}', timeout: 2 s, keepalive: 2 s,\n"
        "    at: {MV1/F05: {points: {\n"
        "    MMXU1/TotW: {path: /p, unit: W}, MMXU1/Hz: {path: /f, unit: Hz}}}}}\n",
        datagrams=True,
    ),
    Case(
        "modbus",
        "",
        "  dev: {protocol: modbus, host: 127.0.0.1, port: {port}, poll: 0.3 s, timeout: 2 s, at: {MV1/F05: {points: {\n"
        "    QA1/CSWI1/Pos: {table: discrete, register: 10, control: {coil: 10, model: direct-normal}},\n"
        "    MMXU1/TotW: {table: input, register: 0, type: f32, unit: W},\n"
        "    MMXU1/Hz: {table: holding, register: 0, unit: Hz}}}}}\n",
        ("{port}",),
        program=("node", "tests/peers/modbus/server.js"),
    ),
)


@pytest.fixture(params=CASES, ids=lambda case: case.protocol)
async def bed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bed]:
    case: Case = request.param
    if case.protocol not in protocol_names():
        pytest.skip(f"the plug-in for {case.protocol} is not installed")
    made = Bed(case, tmp_path, free_port(socket.SOCK_DGRAM if case.datagrams else socket.SOCK_STREAM))
    yield made
    await made.kill()
