"""What the unit tests of DLMS share: an association and a simulated meter that exchange APDUs in memory."""

import pytest

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.acse import PROVED, Mechanism
from twin_gateway.drivers.dlms.ciphering import Ciphering, Counter, Key
from twin_gateway.drivers.dlms.logical_names import LogicalNameAssociation
from twin_gateway.simulate.dlms_meter import Meter, Register
from twin_gateway.simulate.dlms_server import Access, ServerAssociation

EK, AK = Key(bytes(range(16))), Key(bytes(range(0xD0, 0xE0)))
TITLE = b"TWG\0\0\0\0\1"


def drive(steps, answer):
    """Runs the steps of a service against `answer(apdu) -> apdu`; returns its value. No answer (None) is silence."""
    try:
        apdu = next(steps)
        while True:
            reply = answer(apdu)
            apdu = steps.throw(TimeoutError("silence")) if reply is None else steps.send(reply)
    except StopIteration as done:
        return done.value


class Pair:
    """A client association and a server that answers it in memory."""

    def __init__(self, mechanism=Mechanism.NONE, dedicated=False, lists=True, pdu_size=1024, counter=None, **meter):
        self.meter = Meter(
            "00000417",
            {
                obis.parse("1-0:1.8.0"): Register(123456.0, 30),
                obis.parse("1-0:32.7.0"): Register(230.1, 35, -1),
                obis.parse("1-0:16.7.0"): Register(-1520.0, 27),
            },
            **meter,
        )
        ciphered = mechanism in PROVED
        self.access = Access(1, mechanism, b"12345678", EK, AK, b"SIM\0\0\0\0\1", pdu_size, lists, Counter(1))
        self.server = ServerAssociation(self.meter, self.access)
        key = Key(b"\x07" * 16) if dedicated else None
        self.cipher = Ciphering(TITLE, EK, AK, counter or Counter(1), key) if ciphered else None
        password = b"12345678" if mechanism is Mechanism.LLS else b""
        self.client = LogicalNameAssociation(mechanism, password, self.cipher)
        self.sent = []

    def answer(self, apdu):
        self.sent.append(apdu)
        return self.server.handle(1, apdu)

    def do(self, steps):
        return drive(steps, self.answer)

    def open(self):
        self.do(self.client.open())
        return self


@pytest.fixture
def pair():
    """Makes a Pair; see there."""
    return Pair


@pytest.fixture
def run_steps():
    """drive, for tests with answers of their own."""
    return drive
