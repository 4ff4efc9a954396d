"""The c104 outstation in a process of its own, started from a file and ended by its id."""

import asyncio
import contextlib
import json
import signal
import sys

import yaml


class Outstation:
    """One outstation process; `port` stays the same over restarts."""

    def __init__(self, path, stations, **settings):
        self._path, self.port, self.process = path, 0, None
        path.write_text(yaml.safe_dump({"stations": stations, **settings}), encoding="utf-8")

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "twin_gateway.simulate.iec104", str(self._path), "--port", str(self.port)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self.port = (await self.line())["port"]

    async def line(self, seconds=60.0):
        """The next line that the outstation says."""
        return json.loads(await asyncio.wait_for(self.process.stdout.readline(), seconds))

    async def order(self, **order):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.process.stdin.drain()

    def signal(self, number):
        self.process.send_signal(number)

    async def kill(self):
        """SIGKILL, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        self.process.stdin.close()
        # the pipe transports close in the next turns of the loop
        await asyncio.sleep(0)

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        await self.kill()
