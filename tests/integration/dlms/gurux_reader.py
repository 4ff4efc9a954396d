"""Uses a simulated meter with the gurux-dlms client, in a process of its own; one JSON object on stdout.

The argument is a JSON object: port, hdlc, physical, client, counter (of the first ciphered APDU), security (none, lls,
gmac, ecdsa), general (offers general protection), folder (with client.sec1, meter.pem; for ecdsa), long (octets to set
and to read), clock (reads it), rows (to ask for from the newest), switch (on or off).
"""

import datetime as dt
import json
import socket
import sys
from pathlib import Path

from gurux_dlms.enums import Authentication, Conformance, InterfaceType, ObjectType, Security
from gurux_dlms.GXByteBuffer import GXByteBuffer
from gurux_dlms.GXDLMSClient import GXDLMSClient
from gurux_dlms.GXReplyData import GXReplyData
from gurux_dlms.objects import GXDLMSData, GXDLMSDisconnectControl, GXDLMSProfileGeneric, GXDLMSRegister
from gurux_dlms.objects.enums.SecuritySuite import SecuritySuite
from gurux_dlms.secure.GXDLMSSecureClient import GXDLMSSecureClient


class Reader:
    def __init__(self, asked):
        security = asked["security"]
        level, secret = {
            "none": (Authentication.NONE, None),
            "lls": (Authentication.LOW, "12345678"),
            "gmac": (Authentication.HIGH_GMAC, None),
            "ecdsa": (Authentication.HIGH_ECDSA, None),
        }[security]
        hdlc = asked.get("hdlc", False)
        interface = InterfaceType.HDLC if hdlc else InterfaceType.WRAPPER
        device = asked["device"]
        if "physical" in asked:
            device = GXDLMSClient.getServerAddress(device, asked["physical"])
        self.client = client = GXDLMSSecureClient(True, asked["client"], device, level, secret, interface)
        if security in ("gmac", "ecdsa"):
            client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
            client.ciphering.systemTitle = bytearray(b"GRX\0\0\0\0\1")
            client.ciphering.blockCipherKey = bytearray(range(16))
            client.ciphering.authenticationKey = bytearray(range(0xD0, 0xE0))
            client.ciphering.invocationCounter = asked["counter"]
        if security == "ecdsa":
            from gurux_dlms.ecdsa.GXPrivateKey import GXPrivateKey
            from gurux_dlms.ecdsa.GXPublicKey import GXPublicKey

            folder = Path(asked["folder"])
            client.ciphering.securitySuite = SecuritySuite.SUITE_1
            client.ciphering.signingKeyPair = (
                GXPublicKey.fromPem((folder / "meter.pem").read_text()),
                GXPrivateKey.fromPem((folder / "client.sec1").read_text()),
            )
        if asked.get("general"):
            client.proposedConformance |= Conformance.GENERAL_PROTECTION
        else:
            client.proposedConformance &= ~Conformance.GENERAL_PROTECTION
        client.proposedConformance &= ~Conformance.GENERAL_BLOCK_TRANSFER
        self.socket = socket.create_connection(("127.0.0.1", asked["port"]), 5)
        self.socket.settimeout(5)

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
        greeting = self.client.snrmRequest()
        if greeting:
            self.client.parseUAResponse(self.ask(greeting).data)
        self.client.parseAareResponse(self.ask(self.client.aarqRequest()).data)
        if self.client.authentication > Authentication.LOW:
            reply = self.ask(self.client.getApplicationAssociationRequest())
            self.client.parseApplicationAssociationResponse(reply.data)

    def read(self, item, attribute):
        reply = self.ask(self.client.read(item, attribute)[0])
        return self.client.updateValue(item, attribute, reply.value)


def long_value(reader, octets):
    message = GXDLMSData("0.0.96.13.0.255")
    message.value = bytearray(number % 251 for number in range(octets))
    reader.ask(reader.client.write(message, 2))
    back = GXDLMSData("0.0.96.13.0.255")
    return bytes(reader.read(back, 2)) == bytes(message.value)


def clock_time(reader):
    clock = reader.client.objects.findByLN(ObjectType.CLOCK, "0.0.1.0.0.255")
    reader.read(clock, 2)
    return clock.time.value.isoformat()


def profile_rows(reader, newest):
    profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
    reader.read(profile, 3)
    reader.read(profile, 2)
    everything = len(profile.buffer)
    now = dt.datetime.now(dt.UTC)
    reply = reader.ask(reader.client.readRowsByRange(profile, now - dt.timedelta(minutes=15 * newest), now))
    reader.client.updateValue(profile, 2, reply.value)
    return everything, [[str(cell) for cell in row] for row in profile.buffer]


def switched(reader, to):
    control = GXDLMSDisconnectControl("0.0.96.3.10.255")
    ask = control.remoteDisconnect if to == "off" else control.remoteReconnect
    reader.ask(ask(reader.client))
    return bool(reader.read(control, 2))


def main(asked):
    reader = Reader(asked)
    reader.associate()
    objects = reader.client.parseObjects(reader.ask(reader.client.getObjectsRequest()).data, True, False)
    result = {"objects": {item.logicalName: int(item.objectType) for item in objects}}
    register = GXDLMSRegister("1.0.32.7.0.255")
    reader.read(register, 3)
    result["voltage"], result["unit"] = reader.read(register, 2), int(register.unit)
    if asked.get("long"):
        result["back"] = long_value(reader, asked["long"])
    if asked.get("clock"):
        result["clock"] = clock_time(reader)
    if asked.get("rows"):
        result["all_rows"], result["range"] = profile_rows(reader, asked["rows"])
    if asked.get("switch"):
        result["output"] = switched(reader, asked["switch"])
    print(json.dumps(result))
    reader.socket.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
