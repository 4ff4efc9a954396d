"""An IED that sends reports as fast as its client takes them, of everything or of one change each.

    python -m twin_gateway.simulate.iec61850_flood [everything|changes]

`everything` (unless said otherwise) are general-interrogation reports of 50 members and 330 leaves, `changes` reports
of one measured value with quality and time each. One line goes to stdout: {"port": 10102}. Model,
association and control blocks are served by the usual server; once the client has enabled the block, reports that were
encoded beforehand go out, so that the client and not this process is the bottleneck. The values of each report are
others. The end of stdin ends it.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from open61850.data import (
    BitStringData,
    BoolData,
    FloatData,
    IECData,
    RawData,
    StructureData,
    TimestampData,
    UIntData,
    VisibleStringData,
    encode_binary_time,
)
from open61850.mms import pdu
from open61850.mms.types import MmsType, PrimitiveType, StructureType
from open61850.server import IedModel, MmsServer, protocol

from twin_gateway.drivers.iec61850.transport import Cotp

NODES = 10
OBJECTS = ("TotW", "TotVAr", "Hz", "PhV", "A")
LEAVES = 330
CHANGE, GENERAL_INTERROGATION = 0x40, 0x04
"""Reasons for inclusion."""
_VARIANTS = 256  # as many as SqNum of an unbuffered block has, so that no number is missing
_OCTETS_A_WRITE = 26_000
_ENABLED = "FLOODLD0/LLN0$RP$urMeasurement01$RptEna"
_SETTLED_S = 1.0  # the client still configures, reads and interrogates


def scl() -> str:
    """SCL of the IED: ten MMXU in one data set, DO by DO."""
    members = "".join(
        f'<FCDA ldInst="LD0" lnClass="MMXU" lnInst="{node}" doName="{name}" fc="MX"/>'
        for node in range(1, NODES + 1)
        for name in OBJECTS
    )
    stamps = '<DA name="q" bType="Quality" fc="MX" qchg="true"/><DA name="t" bType="Timestamp" fc="MX"/>'
    nodes = "".join(f'<LN lnClass="MMXU" inst="{node}" lnType="MMXU"/>' for node in range(1, NODES + 1))
    kinds = dict.fromkeys(OBJECTS[:3], "MV") | dict.fromkeys(OBJECTS[3:], "WYE")
    objects = "".join(f'<DO name="{name}" type="{kind}"/>' for name, kind in kinds.items())
    return (
        '<SCL xmlns="http://www.iec.ch/61850/2003/SCL" version="2007" revision="B"><Header id="FLOOD"/>'
        '<IED name="FLOOD">'
        '<AccessPoint name="P1"><Server><LDevice inst="LD0"><LN0 lnClass="LLN0" inst="" lnType="LLN0">'
        f'<DataSet name="Measurement">{members}</DataSet>'
        '<ReportControl name="urMeasurement" rptID="flood" datSet="Measurement" confRev="1" buffered="false"'
        ' indexed="true">'
        '<TrgOps dchg="true" qchg="true" period="true" gi="true"/><OptFields/><RptEnabled max="1"/></ReportControl>'
        "</LN0>"
        f"{nodes}</LDevice></Server></AccessPoint></IED><DataTypeTemplates>"
        '<LNodeType id="LLN0" lnClass="LLN0"><DO name="Beh" type="ENS"/></LNodeType>'
        f'<LNodeType id="MMXU" lnClass="MMXU">{objects}</LNodeType>'
        '<DOType id="ENS" cdc="ENS"><DA name="stVal" bType="INT32" fc="ST"/></DOType>'
        f'<DOType id="MV" cdc="MV"><DA name="mag" bType="Struct" type="Value" fc="MX" dchg="true"/>{stamps}</DOType>'
        f'<DOType id="CMV" cdc="CMV"><DA name="cVal" bType="Struct" type="Vector" fc="MX" dchg="true"/>{stamps}'
        '</DOType><DOType id="WYE" cdc="WYE"><SDO name="phsA" type="CMV"/><SDO name="phsB" type="CMV"/>'
        '<SDO name="phsC" type="CMV"/></DOType>'
        '<DAType id="Value"><BDA name="f" bType="FLOAT32"/></DAType><DAType id="Vector">'
        '<BDA name="mag" bType="Struct" type="Value"/><BDA name="ang" bType="Struct" type="Value"/></DAType>'
        "</DataTypeTemplates></SCL>"
    )


def _value(kind: MmsType) -> IECData:
    if isinstance(kind, StructureType):
        return StructureData([_value(inner) for _, inner in kind.components])
    if isinstance(kind, PrimitiveType) and kind.kind == "float":
        return FloatData(random.uniform(0.0, 20_000.0))
    if isinstance(kind, PrimitiveType) and kind.kind == "bit-string":
        return BitStringData(b"\0\0", 3)
    return TimestampData(datetime.now(UTC), 0x0A)


class FloodIed:
    """The IED with its server, on a free port of the loopback.

    Attributes:
        port: where it listens.
        members: names of the members of its one data set, `domain/LN$FC$DO`.
    """

    def __init__(self) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".cid", encoding="utf-8") as file:
            file.write(scl())
            file.flush()
            self._model = IedModel.from_scl(Path(file.name))
        ((self._data_set, members),) = self._model.data_sets.items()
        self.members = [str(member) for member in members]
        self._kinds = [node.mms_type for node in map(self._model.node, members) if node is not None]
        self._server = MmsServer(self._model, host="127.0.0.1", port=0)
        self._server.start()
        self.port = int(self._server.port)

    def numbers(self, *names: str) -> list[int]:
        """Numbers of the members that are data objects of these names."""
        return [number for number, member in enumerate(self.members) if member.rpartition("$")[2] in names]

    def values(self, members: Iterable[int]) -> dict[int, IECData]:
        """A value for each of some members."""
        return {member: _value(self._kinds[member]) for member in members}

    def report(self, number: int, values: Mapping[int, IECData], reason: int) -> bytes:
        """The MMS PDU of a report of some members (by their numbers, in order), in its envelope."""
        count = len(self.members)
        inclusion = sum(1 << (count - 1 - member) for member in values) << (-count % 8)
        results: list[IECData | int] = [
            VisibleStringData("flood"),
            BitStringData(b"\x78\x80", 6),
            UIntData(number % _VARIANTS),
            RawData(0x8C, encode_binary_time(datetime.now(UTC))),
            VisibleStringData(f"{self._data_set.domain}/{self._data_set.item}"),
            UIntData(1),
            BitStringData(inclusion.to_bytes(-(-count // 8), "big"), -count % 8),
            *values.values(),
            *[BitStringData(bytes((reason,)), 1)] * len(values),
        ]
        return pdu.wrap(protocol.information_report(results, list_name="RPT"))

    def feed(self, send: Callable[[socket.socket, Cotp], None]) -> None:
        """Have `send` called whenever a client has enabled the block, in a thread, until the connection breaks."""

        def run() -> None:
            while True:
                state = self._model.get(_ENABLED)
                if not (isinstance(state, BoolData) and state.value and self._server.connections):
                    time.sleep(0.05)
                    continue
                time.sleep(_SETTLED_S)
                cotp = Cotp()
                cotp.tpdu_size = 1 << 11  # what the server has confirmed
                try:
                    # past the server's own encoder
                    send(self._server.connections[0].iso._sock, cotp)
                except (OSError, IndexError):
                    time.sleep(0.2)

        threading.Thread(target=run, daemon=True).start()


def _everything(ied: FloodIed) -> list[bytes]:
    members = range(len(ied.members))
    return [ied.report(number, ied.values(members), GENERAL_INTERROGATION) for number in range(_VARIANTS)]


def _changes(ied: FloodIed) -> list[bytes]:
    single = ied.numbers(*OBJECTS[:3])
    return [ied.report(n, ied.values([single[n % len(single)]]), CHANGE) for n in range(_VARIANTS)]


KINDS = {"everything": _everything, "changes": _changes}


def _writes(reports: list[bytes], cotp: Cotp) -> Iterator[bytes]:
    """The reports in writes of a sound size."""
    part = b""
    for report in reports:
        part += cotp.encode(report)
        if len(part) >= _OCTETS_A_WRITE:
            yield part
            part = b""
    yield part


def main(arguments: list[str] | None = None) -> int:
    """Serve one client until stdin ends."""
    parser = argparse.ArgumentParser(description="an IED that sends reports as fast as they are taken")
    parser.add_argument("kind", choices=sorted(KINDS), nargs="?", default="everything")
    ied = FloodIed()
    reports = KINDS[parser.parse_args(arguments).kind](ied)

    def flood(sock: socket.socket, cotp: Cotp) -> None:
        writes = list(_writes(reports, cotp))
        while True:
            for part in writes:
                sock.sendall(part)

    ied.feed(flood)
    print(json.dumps({"port": ied.port}), flush=True)
    for _ in sys.stdin:
        continue
    return 0


if __name__ == "__main__":
    sys.exit(main())
