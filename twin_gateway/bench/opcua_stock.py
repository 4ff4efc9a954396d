"""The yardstick of the OPC UA benchmark: a stock asyncua server whose variables are written one by one, as a process.

Arguments: port, number of variables, a directory for its certificate. Prints a line when it listens; every line on its
standard input, a number of seconds, has it write all variables in turn for so long, and print what it did. With 0
seconds it only tells its memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncua
import uvloop

from address_space.opcua.security import load_or_make
from twin_gateway.bench.memory import resident

Server: Any = vars(asyncua)["Server"]
ua: Any = vars(asyncua)["ua"]
"""Without asyncua's annotations, which claim subclasses of int and str that no call can give."""
_BEFORE_YIELDING = 500


async def _double(_parent: Any, value: Any) -> list[Any]:
    return [ua.Variant(2 * value.Value, ua.VariantType.Double)]


async def _serve(port: int, count: int, directory: str) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    identity = load_or_make(Path(directory) / "stock", "urn:bench:stock", "stock", ("127.0.0.1",))
    await server.set_application_uri("urn:bench:stock")
    await server.load_certificate(identity.certificate_file)
    await server.load_private_key(identity.key_file)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    index = await server.register_namespace("urn:bench")
    nodes = []
    for group in range(0, count, 100):
        folder = await server.nodes.objects.add_folder(
            ua.NodeId(f"F{group}", index), ua.QualifiedName(f"F{group}", index)
        )
        for number in range(group, min(group + 100, count)):
            node = ua.NodeId(f"V{number}", index)
            await folder.add_variable(node, ua.QualifiedName(f"V{number}", index), 0.0, ua.VariantType.Double)
            nodes.append(node)
    first = server.get_node(ua.NodeId("F0", index))
    double = [ua.VariantType.Double]
    await first.add_method(ua.NodeId("Double", index), ua.QualifiedName("Double", index), _double, double, double)
    await server.start()
    print(json.dumps({"namespace": index, "certificate": str(identity.certificate_file)}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await _write(server, nodes, float(line))), flush=True)


async def _write(server: Any, nodes: list[Any], seconds: float) -> dict[str, float]:
    write, value_id, double = server.iserver.aspace.write_attribute_value, ua.AttributeIds.Value, ua.VariantType.Double
    began, cpu, written = time.perf_counter(), time.process_time(), 0
    if not seconds:
        return {"rss": resident()}
    while time.perf_counter() - began < seconds:
        for start in range(0, len(nodes), _BEFORE_YIELDING):
            for node in nodes[start : start + _BEFORE_YIELDING]:
                now = datetime.now(UTC)
                value = ua.DataValue(ua.Variant(time.time(), double), SourceTimestamp=now, ServerTimestamp=now)
                await write(node, value_id, value)
            written += len(nodes[start : start + _BEFORE_YIELDING])
            await asyncio.sleep(0)
    spent = time.perf_counter() - began
    return {"written": written, "seconds": spent, "cpu": (time.process_time() - cpu) / spent}


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
