"""Reads a meter with the gurux-dlms client, in a process of its own; one JSON object on stdout.

Arguments: port, security (none, lls, gmac), logical device, rows to ask for from the newest (0: none), switch (or -).
"""

import datetime as dt
import json
import socket
import sys
import time

from gurux_dlms.enums import Authentication, InterfaceType, ObjectType, Security
from gurux_dlms.GXByteBuffer import GXByteBuffer
from gurux_dlms.GXReplyData import GXReplyData
from gurux_dlms.objects import GXDLMSDisconnectControl, GXDLMSProfileGeneric, GXDLMSRegister
from gurux_dlms.secure.GXDLMSSecureClient import GXDLMSSecureClient


class Reader:
    def __init__(self, port, security, device):
        level, sap, secret = {
            "none": (Authentication.NONE, 16, None),
            "lls": (Authentication.LOW, 32, "12345678"),
            "gmac": (Authentication.HIGH_GMAC, 1, None),
        }[security]
        self.client = client = GXDLMSSecureClient(True, sap, device, level, secret, InterfaceType.WRAPPER)
        if security == "gmac":
            client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
            client.ciphering.systemTitle = bytearray(b"GRX\0\0\0\0\1")
            client.ciphering.blockCipherKey = bytearray(range(16))
            client.ciphering.authenticationKey = bytearray(range(0xD0, 0xE0))
            client.ciphering.invocationCounter = int(time.time() * 10) & 0xFFFFFFF
        self.socket = socket.create_connection(("127.0.0.1", port), 5)

    def packet(self, message, reply):
        self.socket.sendall(bytes(message))
        buffer, notify = GXByteBuffer(), GXReplyData()
        while True:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("closed")
            buffer.set(data)
            if self.client.getData(buffer, reply, notify):
                break
        if reply.error:
            raise RuntimeError(f"DLMS error {reply.error}")

    def ask(self, messages):
        reply = GXReplyData()
        for message in messages if isinstance(messages, list) else [messages]:
            reply.clear()
            self.packet(message, reply)
            while reply.isMoreData():
                self.packet(self.client.receiverReady(reply), reply)
        return reply

    def associate(self):
        self.client.parseAareResponse(self.ask(self.client.aarqRequest()).data)
        if self.client.authentication > Authentication.LOW:
            reply = self.ask(self.client.getApplicationAssociationRequest())
            self.client.parseApplicationAssociationResponse(reply.data)

    def read(self, item, attribute):
        reply = self.ask(self.client.read(item, attribute)[0])
        return self.client.updateValue(item, attribute, reply.value)


def main(port, security, device, rows, switch):
    reader = Reader(port, security, device)
    reader.associate()
    result = {"objects": {}}
    for item in reader.client.parseObjects(reader.ask(reader.client.getObjectsRequest()).data, True, False):
        result["objects"][item.logicalName] = int(item.objectType)
    register = GXDLMSRegister("1.0.32.7.0.255")
    reader.read(register, 3)
    result["voltage"], result["unit"] = reader.read(register, 2), int(register.unit)
    clock = reader.client.objects.findByLN(ObjectType.CLOCK, "0.0.1.0.0.255")
    reader.read(clock, 2)
    result["clock"] = clock.time.value.isoformat()
    if rows:
        profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
        reader.read(profile, 3)
        reader.read(profile, 2)
        result["all_rows"] = len(profile.buffer)
        now = dt.datetime.now(dt.UTC)
        reply = reader.ask(reader.client.readRowsByRange(profile, now - dt.timedelta(minutes=15 * rows), now))
        reader.client.updateValue(profile, 2, reply.value)
        result["range"] = [[str(cell) for cell in row] for row in profile.buffer]
    if switch != "-":
        control = GXDLMSDisconnectControl("0.0.96.3.10.255")
        ask = control.remoteDisconnect if switch == "off" else control.remoteReconnect
        reader.ask(ask(reader.client))
        result["output"] = bool(reader.read(control, 2))
    print(json.dumps(result))
    reader.socket.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
