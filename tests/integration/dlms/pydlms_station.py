"""Meters of pydlms-client's simulator in a process of their own, each on a port of its own.

Every line of stdin is a JSON object that describes one meter; `ready <port>` answers it:

    hdlc, window: HDLC instead of the wrapper, with this receive window
    short: short names      pdu: longest APDU it takes      gbt: its window of general block transfer
    lose, miss: numbers of general blocks lost once on the way out and on the way in
    ecdsa: directory with client.pem and meter.key, for client 2 (HLS-ECDSA, suite 1) and key agreement

Clients: 16 none, 32 LLS `12345678`, 1 HLS-GMAC.
"""

import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from pydlms.apdu.xdlms import Conformance
from pydlms.cosem.data import DlmsData as D
from pydlms.security.context import SecurityContext
from pydlms.security.hls import Mechanism
from pydlms.simulator import ClientProfile, example_meter, serve

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
TITLE = b"PYD\0\0\0\0\1"


def start(asked):
    meter = example_meter(encryption_key=EK, authentication_key=AK, system_title=TITLE, max_pdu=asked.get("pdu", 1024))
    meter.clients[32] = ClientProfile(Mechanism.LLS, secret=b"12345678")
    meter.clients[1] = ClientProfile(Mechanism.HLS_GMAC, ciphered=True)
    meter.add_object(1, "0.0.96.50.0.255", {2: D.octet_string(b"")}, base_name=0x5000)
    meter.add_method(1, "0.0.96.50.0.255", 1, lambda _meter, value: value)  # gives back what it gets
    meter.gbt_window = asked.get("gbt", 1)
    meter.drop_gbt_blocks = set(asked.get("lose", ()))
    meter.drop_gbt_requests = set(asked.get("miss", ()))
    if "gbt" in asked:
        meter.conformance |= Conformance.GENERAL_BLOCK_TRANSFER
    if "short" in asked:
        meter.conformance = Conformance.default_sn()
    if "ecdsa" in asked:
        folder = Path(asked["ecdsa"])
        own = load_pem_private_key((folder / "meter.key").read_bytes(), None)
        client = load_pem_public_key((folder / "client.pem").read_bytes())
        meter.clients[2] = ClientProfile(Mechanism.HLS_ECDSA, ciphered=True, client_public_key=client)
        meter.signing_key = own
        meter.security = security = SecurityContext(EK, AK, client_system_title=TITLE, suite=1)
        security.signing_key = security.key_agreement_key = own
        security.peer_signing_key = security.peer_key_agreement_key = client
    hdlc = asked.get("hdlc", False)
    return serve(meter, "127.0.0.1", 0, hdlc=hdlc, hdlc_window=asked.get("window", 1))


for line in sys.stdin:
    print("ready", start(json.loads(line)).server_address[1], flush=True)
