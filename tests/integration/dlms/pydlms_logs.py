"""One meter of pydlms-client's simulator with an event log, a status octet, a push setup and a clock that can be set.

In a process of its own. Argument: port (0: any). Prints `ready <port>`, then obeys JSON lines on stdin:

{"event": [seconds ago, code]}, {"row": [seconds ago, status, value]}, {"clock": seconds ahead}, {"serial": "…"},
{"energy": value}, {"drop": rows taken from the head of the profile}
"""

import asyncio
import datetime as dt
import json
import struct
import sys

from pydlms.cosem.data import DlmsData as D
from pydlms.cosem.time import CosemDateTime
from pydlms.obis import ObisCode as O
from pydlms.security.hls import Mechanism
from pydlms.simulator import ClientProfile, MeterSimulator, _Session

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
PERIOD, CAPACITY = 60, 600


def stamp(when):
    return D.octet_string(CosemDateTime.from_datetime(when).to_bytes())


def capture(class_id, obis, attribute=2):
    return D.structure([D.uint16(class_id), D.octet_string(O.parse(obis).to_bytes()), D.int8(attribute), D.uint16(0)])


class Clocked:
    """A meter whose clock may be wrong, and is right again when it was set."""

    def __init__(self):
        self.ahead = 0.0
        self.events, self.rows = [], []
        self.sim = sim = MeterSimulator(system_title=b"TWM\0\0\0\0\1", encryption_key=EK, authentication_key=AK)
        sim.clients[1] = ClientProfile(Mechanism.HLS_GMAC, ciphered=True)
        sim.add_object(1, "0.0.42.0.0.255", {2: D.octet_string(b"TWM0000000000001")})
        sim.add_object(1, "0.0.96.1.0.255", {2: D.octet_string(b"00000001")})
        sim.add_object(8, "0.0.1.0.0.255", {2: lambda: stamp(self.now())})
        sim.add_object(3, "1.0.1.8.0.255", {2: D.uint32(99_000_000), 3: D.structure([D.int8(0), D.enum(30)])})
        sim.add_object(3, "1.0.32.7.0.255", {2: D.uint16(2301), 3: D.structure([D.int8(-1), D.enum(35)])})
        sim.set_access(3, "1.0.32.7.0.255", 2, 1)
        pushed = [capture(1, "0.0.42.0.0.255"), capture(3, "1.0.32.7.0.255"), capture(3, "1.0.1.8.0.255")]
        sim.add_object(40, "0.0.25.9.0.255", {2: D.array(pushed)})
        self.refresh()
        write = sim._write

        def clock_too(class_id, obis, attribute, value):
            if (class_id, attribute) == (8, 2):
                at = CosemDateTime.from_bytes(value.value).to_datetime()
                self.ahead = (at - dt.datetime.now(dt.UTC)).total_seconds()
                return type(write(3, O.parse("1.0.1.8.0.255"), 4, value))(0)
            return write(class_id, obis, attribute, value)

        sim._write = clock_too

    def now(self):
        return dt.datetime.now(dt.timezone(dt.timedelta(hours=2))) + dt.timedelta(seconds=self.ahead)

    def refresh(self):
        log = D.array([D.structure([stamp(at), D.uint8(code)]) for at, code in self.events])
        columns = D.array([capture(8, "0.0.1.0.0.255"), capture(1, "0.0.96.11.0.255")])
        self.sim.add_object(
            7, "0.0.99.98.0.255", {2: log, 3: columns, 4: D.uint32(0), 8: D.uint32(CAPACITY)}, version=1
        )
        rows = D.array([D.structure([stamp(at), D.uint8(status), D.uint32(v)]) for at, status, v in self.rows])
        columns = D.array([capture(8, "0.0.1.0.0.255"), capture(1, "0.0.96.10.1.255"), capture(3, "1.0.1.8.0.255")])
        shape = {3: columns, 4: D.uint32(PERIOD), 7: D.uint32(len(self.rows)), 8: D.uint32(CAPACITY)}
        self.sim.add_object(7, "1.0.99.1.0.255", {2: rows, **shape}, version=1)

    def obey(self, order):
        now = self.now()
        if "event" in order:
            self.events.append((now - dt.timedelta(seconds=order["event"][0]), order["event"][1]))
        if "row" in order:
            ago, status, value = order["row"]
            self.rows.append((now - dt.timedelta(seconds=ago), status, value))
        self.ahead = order.get("clock", self.ahead)
        if "serial" in order:
            self.sim.add_object(1, "0.0.96.1.0.255", {2: D.octet_string(order["serial"].encode())})
        if "energy" in order:
            self.sim.objects[3, O.parse("1.0.1.8.0.255")][2] = D.uint32(order["energy"])
        del self.rows[: order.get("drop", 0)]
        self.refresh()


async def main(port):
    meter = Clocked()

    async def serve(reader, writer):
        session = _Session(client_sap=1)
        try:
            while True:
                _, source, destination, length = struct.unpack(">HHHH", await reader.readexactly(8))
                for out in meter.sim.handle_all(await reader.readexactly(length), session):
                    writer.write(struct.pack(">HHHH", 1, destination, source, len(out)) + out)
                meter.sim.requests.clear()
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        meter.obey(json.loads(line))
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
