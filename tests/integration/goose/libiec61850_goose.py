"""A GOOSE publisher of libiec61850 (by its wheel), in a process of its own: lines of JSON in, a line for each sent.

`{"state": [...]}` makes a new state of booleans, integers, floats and texts and sends it, `{"repeat": n}` sends the
state n times more, `{"set": {...}}` changes revision, simulation, needs, live, state_number. It ends by `os._exit`:
the bindings crash in their destructors.
"""

import json
import os
import sys

import pyiec61850.pyiec61850 as lib

interface, block, destination, app_id, vlan = *sys.argv[1:4], int(sys.argv[4], 0), int(sys.argv[5])
parameters = lib.CommParameters()
parameters.appId, parameters.vlanId, parameters.vlanPriority = app_id, max(vlan, 0), 4
lib.CommParameters_setDstAddress(parameters, *bytes.fromhex(destination.replace(":", "")))
publisher = lib.GoosePublisher_createEx(parameters, interface, vlan >= 0)
lib.GoosePublisher_setGoCbRef(publisher, block)
lib.GoosePublisher_setDataSetRef(publisher, "F07Q1LD0/LLN0$dsTrip")
lib.GoosePublisher_setGoID(publisher, "trip")
lib.GoosePublisher_setConfRev(publisher, 3)
lib.GoosePublisher_setTimeAllowedToLive(publisher, 2000)
SETTERS = {
    "revision": lib.GoosePublisher_setConfRev,
    "simulation": lib.GoosePublisher_setSimulation,
    "needs": lib.GoosePublisher_setNeedsCommission,
    "live": lib.GoosePublisher_setTimeAllowedToLive,
    "state_number": lib.GoosePublisher_setStNum,
}
kept = []


def value(of):
    """A value for its kind; `{"bits": [size, number]}` is a bit string, its first bit the most significant."""
    if isinstance(of, dict):
        size, number = of["bits"]
        made = lib.MmsValue_newBitString(size)
        for bit in range(size):
            lib.MmsValue_setBitStringBit(made, bit, bool(number >> (size - 1 - bit) & 1))
        return made
    if isinstance(of, bool):
        return lib.MmsValue_newBoolean(of)
    if isinstance(of, int):
        return lib.MmsValue_newIntegerFromInt32(of)
    return lib.MmsValue_newFloat(of) if isinstance(of, float) else lib.MmsValue_newVisibleString(of)


def publish():
    print(json.dumps({"sent": lib.GoosePublisher_publish(publisher, members)}), flush=True)


members = lib.LinkedList_create()
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    said = json.loads(line)
    for name, setting in said.get("set", {}).items():
        SETTERS[name](publisher, setting)
    if "state" in said:
        members = lib.LinkedList_create()
        for each in said["state"]:
            made = value(each)
            kept.append(made)
            lib.LinkedList_add(members, made)
        lib.GoosePublisher_increaseStNum(publisher)
        publish()
    for _ in range(said.get("repeat", 0)):
        publish()
os._exit(0)
