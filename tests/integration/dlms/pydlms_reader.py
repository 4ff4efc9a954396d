"""Uses a simulated meter with the client of pydlms, in a process of its own; one JSON object on stdout.

The argument is a JSON object: port, device, client, counter (of the first ciphered APDU), gbt (window of general block
transfer), pdu (longest APDU the client takes), hdlc (window; the framing is then HDLC), scheme (1 or 2, key agreement
of suite 1) with folder (client.key, meter.pem), long (octets to set and to read).
"""

import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from pydlms import DlmsClient
from pydlms.cosem.data import DlmsData
from pydlms.hdlc.connection import HdlcParameters
from pydlms.security.context import SecurityContext
from pydlms.security.general import KeyInfo
from pydlms.security.hls import Mechanism


def settings(asked):
    out = {"client_sap": asked["client"], "server_logical": asked["device"], "timeout": 3.0}
    if "gbt" in asked:
        out |= {"propose_gbt": True, "gbt_window": asked["gbt"]}
    if "pdu" in asked:
        out["max_receive_pdu_size"] = asked["pdu"]
    if "hdlc" in asked:
        window = asked["hdlc"]
        out |= {"hdlc": True, "hdlc_parameters": HdlcParameters(64, 64, window, window)}
    if "scheme" in asked:
        folder = Path(asked["folder"])
        own = load_pem_private_key((folder / "client.key").read_bytes(), None)
        meter = load_pem_public_key((folder / "meter.pem").read_bytes())
        context = SecurityContext(
            bytes(range(16)), bytes(range(0xD0, 0xE0)), client_system_title=b"PYC\0\0\0\0\1", suite=1
        )
        context.set_invocation_counter(asked["counter"])
        context.signing_key = context.key_agreement_key = own
        context.peer_signing_key = context.peer_key_agreement_key = meter
        out |= {"mechanism": Mechanism.HLS_ECDSA, "security": context, "signing_key": own, "server_public_key": meter}
        out |= {"protection": "general-ciphering", "key_info": KeyInfo("agreed", scheme=asked["scheme"])}
    return out


def main(asked):
    with DlmsClient.tcp("127.0.0.1", asked["port"], **settings(asked)) as meter:
        result = {"voltage": meter.get("1.0.32.7.0.255", 3, 2).value}
        if "long" in asked:
            octets = bytes(number % 251 for number in range(asked["long"]))
            meter.set("0.0.96.13.0.255", 1, 2, DlmsData.octet_string(octets))
            result["back"] = bytes(meter.get("0.0.96.13.0.255", 1, 2).value) == octets
    print(json.dumps(result))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
