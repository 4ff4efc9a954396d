"""An outstation on hat-drivers (Apache-2.0) in a process of its own: TLS, narrow addresses, a buffer of events.

Started with one JSON argument: `tls` (ca, certificate, key), `widths` (octets of cause, common and object address).
Each line of stdin is a number of events to be recorded; each is kept until hat-drivers says that it was acknowledged,
and sent again on the next connection otherwise. Says {"port": ...} when it listens, and each command that it gets.
"""

import asyncio
import json
import ssl
import sys
import threading
import time

from hat.drivers import net
from hat.drivers.iec60870 import apci
from hat.drivers.iec60870.encodings import iec101

ANSWER = {
    iec101.CauseType.ACTIVATION: iec101.CauseType.ACTIVATION_CONFIRMATION,
    iec101.CauseType.DEACTIVATION: iec101.CauseType.DEACTIVATION_CONFIRMATION,
}
GOOD = iec101.MeasurementQuality(invalid=False, not_topical=False, substituted=False, blocked=False, overflow=False)


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Station:
    def __init__(self, widths):
        cause, common, address = widths
        self.encoder = iec101.Encoder(
            iec101.CauseSize(cause), iec101.AsduAddressSize(common), iec101.IoAddressSize(address), 249
        )
        self.number = 0
        self.buffer = []
        self.news = asyncio.Event()
        self.connection = None

    def encode(self, kind, cause, element, address=0, moment=None, common=1):
        told = iec101.Cause(type=cause, is_negative_confirm=False, is_test=False, originator_address=0)
        io = iec101.IO(address=address, elements=[element], time=moment)
        return self.encoder.encode_asdu(iec101.ASDU(type=kind, cause=told, address=common, ios=[io]))

    def record(self, count):
        for _ in range(count):
            self.number += 1
            at = time.time() + self.number / 1000
            seconds = time.gmtime(at)
            moment = iec101.Time(
                size=iec101.TimeSize.SEVEN,
                milliseconds=seconds.tm_sec * 1000 + int(at * 1000) % 1000,
                invalid=False,
                substituted=False,
                minutes=seconds.tm_min,
                summer_time=False,
                hours=seconds.tm_hour,
                day_of_week=seconds.tm_wday + 1,
                day_of_month=seconds.tm_mday,
                months=seconds.tm_mon,
                years=seconds.tm_year % 100,
            )
            element = iec101.IoElement_M_ME_TE(value=iec101.ScaledValue(self.number), quality=GOOD)
            kind, cause = iec101.AsduType.M_ME_TE, iec101.CauseType.SPONTANEOUS
            self.buffer.append(self.encode(kind, cause, element, 1, moment))
        self.news.set()

    async def serve(self, connection):
        sending = asyncio.create_task(self.send_events(connection))
        try:
            while True:
                octets = await connection.receive()
                asdu, _ = self.encoder.decode_asdu(octets)
                say(command=asdu.type.name, common_address=asdu.address, object=asdu.ios[0].address)
                cause = ANSWER.get(asdu.cause.type)
                if cause is None:
                    continue
                await connection.send(self.encoder.encode_asdu(asdu._replace(cause=asdu.cause._replace(type=cause))))
                if asdu.type is iec101.AsduType.C_IC_NA:
                    element = iec101.IoElement_M_ME_NB(value=iec101.ScaledValue(self.number), quality=GOOD)
                    kind, answer = iec101.AsduType.M_ME_NB, iec101.CauseType.INTERROGATED_STATION
                    await connection.send(self.encode(kind, answer, element, 1))
                    ended = asdu.cause._replace(type=iec101.CauseType.ACTIVATION_TERMINATION)
                    await connection.send(self.encoder.encode_asdu(asdu._replace(cause=ended)))
        except ConnectionError:
            pass
        finally:
            sending.cancel()
            connection.close()

    async def send_events(self, connection):
        """Send what is in the buffer in order; an event leaves it when it was acknowledged."""
        flight = set()
        at = 0
        try:
            while True:
                while connection.is_enabled and at < len(self.buffer):
                    event = self.buffer[at]
                    at += 1
                    task = asyncio.create_task(connection.send(event, wait_ack=True))
                    flight.add(task)

                    def done(task, event=event):
                        nonlocal at
                        flight.discard(task)
                        if not task.cancelled() and task.exception() is None:
                            assert self.buffer[0] is event
                            del self.buffer[0]
                            at -= 1

                    task.add_done_callback(done)
                self.news.clear()
                try:
                    await asyncio.wait_for(self.news.wait(), 0.02)
                except TimeoutError:
                    continue
        finally:
            for task in flight:
                task.cancel()


def context_of(tls):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls["certificate"], tls["key"])
    context.load_verify_locations(tls["ca"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def main(arguments):
    station = Station(arguments.get("widths", (2, 2, 3)))
    more = {"ssl": context_of(arguments["tls"])} if "tls" in arguments else {}
    server = await apci.listen(station.serve, net.TcpAddress("127.0.0.1", 0), **more)
    say(port=server.info.addresses[0].port)
    loop = asyncio.get_running_loop()

    def orders():
        for line in sys.stdin:
            loop.call_soon_threadsafe(station.record, int(line))

    threading.Thread(target=orders, daemon=True).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
