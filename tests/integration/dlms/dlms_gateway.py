"""A process that reads one meter as fast as it can until it is killed; arguments: port, data directory."""

import asyncio
import sys
from pathlib import Path

from address_space.catalogue import ValueType
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.driver import DlmsDriver


class Link:
    name = "m1"

    def __init__(self, directory):
        directory.mkdir(parents=True, exist_ok=True)
        self.data_directory = directory

    def up(self):
        print("up", flush=True)

    def publish(self, batch):
        print("value", batch.values[0], flush=True)

    def event(self, code, text, **_):
        print("event", code, text, flush=True)

    def count(self, counter, by=1):
        if counter.endswith("errors"):
            print("counted", counter, by, flush=True)

    def error(self, text, address=""):
        print("error", address, text, flush=True)

    def connected(self, flow):
        print("connected", flow.remote, flush=True)

    def kept_until(self):
        return 0  # there is no history here

    def traffic(self, sent, octets):
        assert octets


def main(port, directory):
    keys = {"authentication": bytes(range(0xD0, 0xE0)).hex(), "encryption": bytes(range(16)).hex()}
    fields = {"host": "127.0.0.1", "port": port, "security": "hls-gmac", "keys": keys, "poll": 0.005}
    point = BoundPoint(0, "p", "MV", ValueType.DOUBLE, {"obis": "1-0:32.7.0"}, quantity="voltage")
    asyncio.run(DlmsDriver("m1", DlmsConfig.model_validate(fields), [point]).run(Link(directory)))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
