"""Reads a log with libiec61850's client, which shares no code with the driver. Run as a process of its own.

    python libiec61850_log_client.py PORT LOG TIME [ENTRY]

TIME is in ms since 1970; with ENTRY (hexadecimal) the entries behind it are asked for. Prints the client's error (0 for
none) and the number of entries as JSON, and ends with os._exit, because the wrapper crashes at interpreter exit.
"""

import json
import os
import sys

import pyiec61850.pyiec61850 as c


def main():
    port, log, moment = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    connection = c.IedConnection_create()
    error = c.IedConnection_connect(connection, "127.0.0.1", port)[-1]
    if error:
        print(json.dumps(f"no association: {error}"), flush=True)
        os._exit(1)
    if len(sys.argv) > 4:
        octets = bytes.fromhex(sys.argv[4])
        entry = c.MmsValue_newOctetString(len(octets), len(octets))
        for at, octet in enumerate(octets):
            c.MmsValue_setOctetStringOctet(entry, at, octet)
        found = c.IedConnection_queryLogAfter(connection, log, entry, moment, None)
    else:
        found = c.IedConnection_queryLogByTime(connection, log, moment, moment + 1000, None)
    entries, error = found
    print(json.dumps({"error": error, "entries": c.LinkedList_size(entries) if entries else 0}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
