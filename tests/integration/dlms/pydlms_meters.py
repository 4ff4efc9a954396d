"""Meters of pydlms-client's simulator behind one TCP port, in a process of their own; told apart by logical device.

Arguments: port (0: any), meters, rows of the load profile, services left out (`-`, or `list`, `selective`).
Clients: 16 none, 32 LLS `12345678`, 1 HLS-GMAC with suite 0. Prints `ready <port>`.
"""

import asyncio
import datetime as dt
import struct
import sys

from pydlms.apdu.xdlms import Conformance
from pydlms.cosem.data import DlmsData as D
from pydlms.cosem.time import CosemDateTime
from pydlms.obis import ObisCode as O
from pydlms.security.hls import Mechanism
from pydlms.simulator import ClientProfile, MeterSimulator, _Session

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
CAPTURED = dt.datetime(2026, 10, 1, tzinfo=dt.UTC)
DROPPED = {"list": Conformance.MULTIPLE_REFERENCES, "selective": Conformance.SELECTIVE_ACCESS}
REGISTERS = [
    ("1.0.1.8.0.255", 123456, 0, 30, D.uint32),
    ("1.0.2.8.0.255", 4321, 3, 30, D.uint32),
    ("1.0.16.7.0.255", -1520, 0, 27, D.int32),
    ("1.0.3.8.0.255", 5000, 0, 32, D.uint32),
    ("1.0.32.7.0.255", 2301, -1, 35, D.uint16),
    ("1.0.52.7.0.255", 2312, -1, 35, D.uint16),
    ("1.0.72.7.0.255", 2299, -1, 35, D.uint16),
    ("1.0.31.7.0.255", 523, -2, 33, D.uint16),
]


def stamp(when):
    return D.octet_string(CosemDateTime.from_datetime(when).to_bytes())


def capture(class_id, obis):
    return D.structure([D.uint16(class_id), D.octet_string(O.parse(obis).to_bytes()), D.int8(2), D.uint16(0)])


def scaler_unit(scaler, unit):
    return D.structure([D.int8(scaler), D.enum(unit)])


def meter(number, rows, conformance):
    sim = MeterSimulator(
        system_title=b"TWM\0" + struct.pack(">I", number),
        encryption_key=EK,
        authentication_key=AK,
        conformance=conformance,
    )
    sim.clients[32] = ClientProfile(Mechanism.LLS, secret=b"12345678")
    sim.clients[1] = ClientProfile(Mechanism.HLS_GMAC, ciphered=True)
    sim.add_object(1, "0.0.42.0.0.255", {2: D.octet_string(b"TWM%013d" % number)})
    sim.add_object(1, "0.0.96.1.0.255", {2: D.octet_string(b"%08d" % number)})
    sim.add_object(8, "0.0.1.0.0.255", {2: lambda: stamp(dt.datetime.now(dt.timezone(dt.timedelta(hours=2))))})
    for obis, value, scaler, unit, encode in REGISTERS:
        sim.add_object(3, obis, {2: encode(value), 3: scaler_unit(scaler, unit)})
    # A maximum with the time it was captured, and a register whose value is missing.
    sim.add_object(4, "1.0.1.6.0.255", {2: D.uint32(7000), 3: scaler_unit(0, 27), 4: D.null(), 5: stamp(CAPTURED)})
    sim.add_object(3, "1.0.14.7.0.255", {3: scaler_unit(-2, 44)})
    state = {"on": True}
    sim.add_object(
        70,
        "0.0.96.3.10.255",
        {2: lambda: D.boolean(state["on"]), 3: lambda: D.enum(1 if state["on"] else 0), 4: D.enum(4)},
    )
    sim.add_method(70, "0.0.96.3.10.255", 1, lambda *_: state.update(on=False))
    sim.add_method(70, "0.0.96.3.10.255", 2, lambda *_: state.update(on=True))
    now = dt.datetime.now(dt.UTC)
    start = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0) - dt.timedelta(minutes=15 * rows)
    table = [
        D.structure([stamp(start + dt.timedelta(minutes=15 * row)), D.uint32(1000 + 7 * row)]) for row in range(rows)
    ]
    sim.add_object(
        7,
        "1.0.99.1.0.255",
        {
            2: D.array(table),
            3: D.array([capture(8, "0.0.1.0.0.255"), capture(3, "1.0.1.8.0.255")]),
            4: D.uint32(900),
            5: D.enum(1),
            7: D.uint32(rows),
            8: D.uint32(rows),
        },
        version=1,
    )
    return sim


async def main(port, count, rows, without):
    conformance = MeterSimulator().conformance
    for name in without.split(","):
        conformance &= ~DROPPED.get(name, Conformance(0))
    meters = {number: meter(number, rows, conformance) for number in range(1, count + 1)}

    async def serve(reader, writer):
        sessions = {}
        try:
            while True:
                version, source, destination, length = struct.unpack(">HHHH", await reader.readexactly(8))
                apdu = await reader.readexactly(length)
                if version != 1 or destination not in meters:
                    continue
                session = sessions.setdefault((source, destination), _Session(client_sap=source))
                for out in meters[destination].handle_all(apdu, session):
                    writer.write(struct.pack(">HHHH", 1, destination, source, len(out)) + out)
                meters[destination].requests.clear()
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
