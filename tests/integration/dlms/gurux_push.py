"""Sends pushes with gurux-dlms GXDLMSSecureNotify, in a process of its own.

Each line of stdin is JSON: port, how (`tcp` or `udp`), counter (-1: unprotected), voltage (raw), logical device.
What was sent is answered as hexadecimal digits.
"""

import contextlib
import datetime as dt
import io
import json
import socket
import sys

from gurux_dlms.enums import DataType, InterfaceType, Security
from gurux_dlms.objects import GXDLMSCaptureObject, GXDLMSData, GXDLMSPushSetup, GXDLMSRegister
from gurux_dlms.secure.GXDLMSSecureNotify import GXDLMSSecureNotify


def push(port, how, counter, voltage, device):
    notify = GXDLMSSecureNotify(True, 1, device, InterfaceType.WRAPPER)
    if counter >= 0:
        cipher = notify.ciphering
        cipher.security = Security.AUTHENTICATION_ENCRYPTION
        cipher.systemTitle = bytearray(b"TWM\0\0\0\0\1")
        cipher.blockCipherKey, cipher.authenticationKey = bytearray(range(16)), bytearray(range(0xD0, 0xE0))
        cipher.invocationCounter = counter
    setup = GXDLMSPushSetup("0.0.25.9.0.255")
    name = GXDLMSData("0.0.42.0.0.255")
    name.value = bytearray(b"TWM0000000000001")
    volts, energy = GXDLMSRegister("1.0.32.7.0.255"), GXDLMSRegister("1.0.1.8.0.255")
    volts.value, energy.value = voltage, 123456
    name.setDataType(2, DataType.OCTET_STRING)
    volts.setDataType(2, DataType.UINT16)
    energy.setDataType(2, DataType.UINT32)
    setup.pushObjectList += [(item, GXDLMSCaptureObject(2, 0)) for item in (name, volts, energy)]
    with contextlib.redirect_stdout(io.StringIO()):
        messages = notify.generatePushSetupMessages(dt.datetime.now(dt.UTC), setup)
    kind = socket.SOCK_STREAM if how == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as sender:
        sender.connect(("127.0.0.1", port))
        for message in messages:
            sender.sendall(bytes(message))
    return b"".join(map(bytes, messages)).hex()


if __name__ == "__main__":
    for line in sys.stdin:
        print(push(*json.loads(line)), flush=True)
