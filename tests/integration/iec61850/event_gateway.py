"""A gateway that can be killed: one 61850 link, its table and its history on disk. Run as a process of its own.

    python event_gateway.py PORT FOLDER REFERENCE [make]

With `make` it may have data sets made.

Each sample of the point in the journals of the table is a line of stdout: {"late": bool, "value": n, "time": ticks};
each event of lost data is {"event": "D08 …"};
{"kept": n} says that the history has everything up to n. It ends in an orderly way when stdin does.
"""

import asyncio
import json
import sys
from collections import deque
from pathlib import Path

from address_space import clock
from twin_gateway.history.service import History
from twin_gateway.history.settings import HistorySettings

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script: the tests are its packages

from integration.iec61850.bed import Bed


def say(line):
    print(json.dumps(line), flush=True)


async def main(port, folder, reference):
    bed = Bed(port, folder, only={reference}, data_sets=len(sys.argv) > 4, idle=0.6, timeout=0.6)
    row = bed.points[reference].row
    live = bed.table.journal.cursor("lines")
    history = History(bed.table, bed.events, HistorySettings(reserve_mb=0, interval=0.2), folder / "history")
    bed.link.kept = history.kept_until
    await history.start()
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    said, told, newest = 0, 0, 0
    unkept = deque()
    async with bed:
        while not ended.done():
            await asyncio.sleep(0.02)
            # what is late was before what is live: a replay ends with the state
            for late, cursor in ((True, bed.late), (False, live)):
                for chunk in cursor.take():
                    for place in (chunk.rows == row).nonzero()[0]:
                        if chunk.status[place] == 0:
                            newest = max(newest, int(chunk.raw[place]))
                            say({"late": late, "value": int(chunk.raw[place]), "time": int(chunk.source_time[place])})
            unkept.append((clock.now(), newest))
            while unkept and unkept[0][0] < history.kept_until():
                kept = unkept.popleft()[1]
                if kept > told:
                    told = kept
                    say({"kept": told})
            codes = bed.event_codes()
            for event in bed.seen[said:]:
                if event.code in ("D08", "D03"):
                    say({"event": f"{event.code} {event.text}"})
            said = len(codes)
    await history.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
