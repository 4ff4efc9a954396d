"""The demo's feeder bay with a GOOSE control block that it does not have by itself."""

from __future__ import annotations

from pathlib import Path

BAY = Path(__file__).parents[2] / "mappings/demo/scl/F07Q1.cid"
_NODE = '<LN0 lnClass="LLN0" inst="" lnType="LLN0">'
_DATA_SET = """
<DataSet name="dsTrip"><FCDA ldInst="LD0" lnClass="XCBR" lnInst="1" doName="Pos" fc="ST"/>
<FCDA ldInst="LD0" lnClass="PTRC" lnInst="1" doName="Tr" daName="general" fc="ST"/></DataSet>
<GSEControl name="gcbTrip" datSet="dsTrip" confRev="3" appID="trip"/>"""
_ADDRESS = """</Address><GSE ldInst="LD0" cbName="gcbTrip"><Address><P type="MAC-Address">DESTINATION</P>
<P type="APPID">3001</P><P type="VLAN-ID">005</P><P type="VLAN-PRIORITY">4</P></Address></GSE>"""


def with_goose(path: Path, block: str = "gcbTrip", destination: str = "01:0c:cd:01:00:01") -> Path:
    """Write it: a control block of `dsTrip`, a whole position and one attribute of a trip."""
    text = BAY.read_text("utf-8")
    text = text.replace(_NODE, _NODE + _DATA_SET, 1).replace("</Address>", _ADDRESS, 1)
    path.write_text(
        text.replace("gcbTrip", block).replace("DESTINATION", destination.replace(":", "-").upper()), "utf-8"
    )
    return path
