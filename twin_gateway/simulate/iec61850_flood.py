"""An IED that sends general-interrogation reports of 50 members and 330 leaves as fast as its client takes them.

    python -m twin_gateway.simulate.iec61850_flood

One line goes to stdout: {"port": 10102}. Model, association and control blocks are served by the usual server; once
the client has enabled the block, reports that were encoded beforehand go out, so that the client and not this process
is the bottleneck. The values of each report are others. The end of stdin ends it.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
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
_VARIANTS = 256  # as many as SqNum of an unbuffered block has, so that no number is missing
_REPORTS_A_WRITE = 8
_GENERAL_INTERROGATION = 0x04


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


def reports(model: IedModel) -> list[bytes]:
    """MMS PDUs in their envelope, with other values and one sequence number after the other."""
    ((data_set, members),) = model.data_sets.items()
    kinds = [node.mms_type for node in map(model.node, members) if node is not None]
    head: list[IECData | int] = [VisibleStringData("flood"), BitStringData(b"\x78\x80", 6)]
    found = []
    for number in range(_VARIANTS):
        results: list[IECData | int] = [
            *head,
            UIntData(number),
            RawData(0x8C, encode_binary_time(datetime.now(UTC))),
            VisibleStringData(f"{data_set.domain}/{data_set.item}"),
            UIntData(1),
            BitStringData(b"\xff" * 6 + b"\xc0", 6),
        ]
        results += [_value(kind) for kind in kinds]
        results += [BitStringData(bytes((_GENERAL_INTERROGATION,)), 1)] * len(kinds)
        found.append(pdu.wrap(protocol.information_report(results, list_name="RPT")))
    return found


def main() -> int:
    """Serve one client until stdin ends."""
    with tempfile.NamedTemporaryFile("w", suffix=".cid", encoding="utf-8") as file:
        file.write(scl())
        file.flush()
        model = IedModel.from_scl(Path(file.name))
    server = MmsServer(model, host="127.0.0.1", port=0)
    server.start()
    prepared = reports(model)
    enabled = "FLOODLD0/LLN0$RP$urMeasurement01$RptEna"

    def flood() -> None:
        while True:
            state = model.get(enabled)
            if not (isinstance(state, BoolData) and state.value and server.connections):
                time.sleep(0.05)
                continue
            time.sleep(1.0)  # the client still configures, reads and interrogates
            sock = server.connections[0].iso._sock  # the octets are prepared: past the encoder
            cotp = Cotp()
            cotp.tpdu_size = 1 << 11  # what the server has confirmed
            octets = [b"".join(map(cotp.encode, prepared[i : i + _REPORTS_A_WRITE]))
                      for i in range(0, _VARIANTS, _REPORTS_A_WRITE)]  # fmt: skip
            try:
                while True:
                    for part in octets:
                        sock.sendall(part)
            except OSError:
                time.sleep(0.2)

    threading.Thread(target=flood, daemon=True).start()
    print(json.dumps({"port": server.port}), flush=True)
    for _ in sys.stdin:
        continue
    return 0


if __name__ == "__main__":
    sys.exit(main())
