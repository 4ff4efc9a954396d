"""What our simulated meters speak beside the plain wrapper, used by the gurux-dlms client in another process."""

import json
import subprocess
import sys

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

pytestmark = pytest.mark.timeout(60)

KEYS = {"authentication": bytes(range(0xD0, 0xE0)).hex(), "encryption": bytes(range(16)).hex()}


@pytest.fixture(scope="module")
def curve_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    for name in ("client", "meter"):
        key = ec.generate_private_key(ec.SECP256R1())
        for kind, form in (("key", PrivateFormat.PKCS8), ("sec1", PrivateFormat.TraditionalOpenSSL)):
            (folder / f"{name}.{kind}").write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pem").write_bytes(public)
    return folder


def meters(folder, **more):
    curves = {"signing": str(folder / "meter.key"), "client_signing": str(folder / "client.pem")}
    agreed = {"agreement": str(folder / "meter.key"), "client_agreement": str(folder / "client.pem")}
    return more | {
        "defaults": {
            "registers": {"1-0:32.7.0": {"value": 230.1, "unit": "V", "scaler": -1}},
            "pdu_size": 300,
        },
        "meters": {
            "m1": {"security": "none"},
            "m2": {"security": "hls-gmac", "keys": KEYS, "general_ciphering": True},
            "m3": {"security": "hls-ecdsa", "keys": KEYS, "curve_keys": curves},
            "m4": {"security": "none", "block_window": 5},
            "m5": {"security": "hls-ecdsa", "keys": KEYS, "key_agreement": "one-pass", "curve_keys": curves | agreed},
        },
    }


@pytest.fixture(scope="module")
def simulated(curve_files):
    """Ports of the simulated meters: over the wrapper, and over HDLC with windows of 4 frames."""
    processes = []
    for name, framing in (("wrapper", {}), ("hdlc", {"framing": "hdlc", "hdlc": {"window": 4}})):
        path = curve_files / f"{name}.yaml"
        path.write_text(yaml.safe_dump(meters(curve_files, port=0, **framing)))
        command = [sys.executable, "-m", "twin_gateway.simulate.dlms", str(path)]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    ports = [json.loads(process.stdout.readline())["ports"]["m1"] for process in processes]
    yield dict(zip(("wrapper", "hdlc"), ports, strict=True))
    for process in processes:
        process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


DEVICES = {"none": (1, 16), "gmac": (2, 1), "ecdsa": (3, 1)}


@pytest.mark.parametrize("security", ["none", "gmac"])
def test_the_gurux_client_reads_and_sets_over_hdlc(gurux, simulated, security):
    seen = gurux(simulated["hdlc"], *DEVICES[security], security, hdlc=True, long=1000)
    assert seen["voltage"] == pytest.approx(230.1) and len(seen["objects"]) >= 7 and seen["back"]


def test_the_gurux_client_names_a_physical_device_over_hdlc(gurux, simulated):
    assert gurux(simulated["hdlc"], *DEVICES["none"], hdlc=True, physical=17)["voltage"] == pytest.approx(230.1)


def test_the_gurux_client_sets_in_blocks(gurux, simulated):
    assert gurux(simulated["wrapper"], *DEVICES["none"], long=3000)["back"]


def test_the_gurux_client_uses_general_glo_ciphering(gurux, simulated):
    seen = gurux(simulated["wrapper"], *DEVICES["gmac"], "gmac", general=True, long=1000)
    assert seen["voltage"] == pytest.approx(230.1) and seen["back"]


def test_the_gurux_client_associates_by_signatures_of_suite_1(gurux, simulated, curve_files):
    seen = gurux(simulated["wrapper"], *DEVICES["ecdsa"], "ecdsa", folder=str(curve_files))
    assert seen["voltage"] == pytest.approx(230.1)


@pytest.mark.parametrize("window", [1, 5])
def test_the_pydlms_client_sets_and_reads_in_general_blocks(pydlms, simulated, window):
    assert pydlms(simulated["wrapper"], 4, gbt=window, pdu=200, long=3000) == {"voltage": 2301, "back": True}


@pytest.mark.parametrize("window", [1, 4])
def test_the_pydlms_client_uses_hdlc_windows(pydlms, simulated, window):
    assert pydlms(simulated["hdlc"], 1, hdlc=window, long=1000) == {"voltage": 2301, "back": True}


@pytest.mark.parametrize("scheme", [1, 2])
def test_the_pydlms_client_agrees_on_keys_of_suite_1(pydlms, simulated, curve_files, scheme):
    assert pydlms(simulated["wrapper"], 5, 1, scheme=scheme, folder=str(curve_files))["voltage"] == 2301
