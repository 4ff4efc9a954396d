"""A GOOSE subscriber of libiec61850 (by its wheel), in a process of its own: a line of JSON for what it has heard.

`{"valid", "state", "sequence", "live", "revision", "test", "needs", "data_set", "values"}`; it ends by `os._exit`: the
bindings crash in their destructors.
"""

import json
import os
import select
import sys
import time

import pyiec61850.pyiec61850 as lib

interface, block, app_id = sys.argv[1], sys.argv[2], int(sys.argv[3], 0)
receiver = lib.GooseReceiver_create()
lib.GooseReceiver_setInterfaceId(receiver, interface)
subscriber = lib.GooseSubscriber_create(block, None)
lib.GooseSubscriber_setAppId(subscriber, app_id)
lib.GooseReceiver_addSubscriber(receiver, subscriber)
lib.GooseReceiver_start(receiver)
print(json.dumps({"ready": bool(lib.GooseReceiver_isRunning(receiver))}), flush=True)


def text(values):
    made = lib.MmsValue_printToBuffer(values, 1000)
    return made[0] if isinstance(made, (list, tuple)) else made


last = None
while not select.select([sys.stdin], [], [], 0)[0]:
    state = lib.GooseSubscriber_getStNum(subscriber)
    heard = {
        "valid": bool(lib.GooseSubscriber_isValid(subscriber)),
        "state": state,
        "sequence": lib.GooseSubscriber_getSqNum(subscriber),
    }
    if heard != last:
        last = dict(heard)
        if state:
            heard["live"] = lib.GooseSubscriber_getTimeAllowedToLive(subscriber)
            heard["revision"] = lib.GooseSubscriber_getConfRev(subscriber)
            heard["test"] = bool(lib.GooseSubscriber_isTest(subscriber))
            heard["needs"] = bool(lib.GooseSubscriber_needsCommission(subscriber))
            heard["data_set"] = lib.GooseSubscriber_getDataSet(subscriber)
            heard["values"] = text(lib.GooseSubscriber_getDataSetValues(subscriber))
        print(json.dumps(heard), flush=True)
    time.sleep(0.002)
os._exit(0)
