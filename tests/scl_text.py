"""Small SCL files of our own, built for one odd case each."""

from __future__ import annotations

from collections.abc import Sequence

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = "http://www.iec.ch/61850/2003/SCL"
DATA_TYPES = """<DataTypeTemplates>
<LNodeType id="LLN0_T" lnClass="LLN0"><DO name="Mod" type="ENC"/><DO name="Beh" type="ENS"/></LNodeType>
<LNodeType id="XCBR_T" lnClass="XCBR"><DO name="Pos" type="DPC"/><DO name="Loc" type="SPS"/><DO name="OpCnt" type="INS"/></LNodeType>
<LNodeType id="XSWI_T" lnClass="XSWI"><DO name="Pos" type="DPC"/></LNodeType>
<LNodeType id="CSWI_T" lnClass="CSWI"><DO name="Pos" type="DPC"/></LNodeType>
<LNodeType id="MMXU_T" lnClass="MMXU"><DO name="TotW" type="MV"/><DO name="PhV" type="WYE"/></LNodeType>
<LNodeType id="GGIO_T" lnClass="GGIO"><DO name="Ind1" type="SPS"/><DO name="Ind2" type="SPS"/><DO name="Ind3" type="SPS"/></LNodeType>
<LNodeType id="ODD_T" lnClass="GGIO"><DO name="Ind1" type="SPS"/><DO name="Strange" type="NEW"/></LNodeType>
<DOType id="SPS" cdc="SPS"><DA name="stVal" bType="BOOLEAN" fc="ST"/><DA name="q" bType="Quality" fc="ST"/><DA name="t" bType="Timestamp" fc="ST"/></DOType>
<DOType id="NEW" cdc="XYZ"><DA name="stVal" bType="BOOLEAN" fc="ST"/></DOType>
<DOType id="INS" cdc="INS"><DA name="stVal" bType="INT32" fc="ST"/><DA name="q" bType="Quality" fc="ST"/></DOType>
<DOType id="ENS" cdc="ENS"><DA name="stVal" bType="Enum" type="Beh" fc="ST"/><DA name="q" bType="Quality" fc="ST"/></DOType>
<DOType id="ENC" cdc="ENC"><DA name="stVal" bType="Enum" type="Beh" fc="ST"/><DA name="q" bType="Quality" fc="ST"/><DA name="ctlModel" bType="Enum" type="Ctl" fc="CF"/></DOType>
<DOType id="DPC" cdc="DPC"><DA name="stVal" bType="Dbpos" fc="ST"/><DA name="q" bType="Quality" fc="ST"/><DA name="t" bType="Timestamp" fc="ST"/><DA name="ctlModel" bType="Enum" type="Ctl" fc="CF"/><DA name="Oper" bType="Struct" type="Oper" fc="CO"/></DOType>
<DOType id="MV" cdc="MV"><DA name="mag" bType="Struct" type="Analogue" fc="MX"/><DA name="q" bType="Quality" fc="MX"/><DA name="units" bType="Struct" type="Unit" fc="CF"/></DOType>
<DOType id="CMV" cdc="CMV"><DA name="cVal" bType="Struct" type="Vector" fc="MX"/><DA name="q" bType="Quality" fc="MX"/></DOType>
<DOType id="WYE" cdc="WYE"><SDO name="phsA" type="CMV"/><SDO name="phsB" type="CMV"/><SDO name="phsC" type="CMV"/></DOType>
<DAType id="Analogue"><BDA name="f" bType="FLOAT32"/></DAType>
<DAType id="Vector"><BDA name="mag" bType="Struct" type="Analogue"/></DAType>
<DAType id="Unit"><BDA name="SIUnit" bType="Enum" type="SI"/><BDA name="multiplier" bType="Enum" type="Mul"/></DAType>
<DAType id="Oper"><BDA name="ctlVal" bType="BOOLEAN"/></DAType>
<EnumType id="Beh"><EnumVal ord="1">on</EnumVal><EnumVal ord="5">off</EnumVal></EnumType>
<EnumType id="Ctl"><EnumVal ord="0">status-only</EnumVal><EnumVal ord="1">direct-with-normal-security</EnumVal><EnumVal ord="4">sbo-with-enhanced-security</EnumVal></EnumType>
<EnumType id="SI"><EnumVal ord="62">W</EnumVal><EnumVal ord="29">V</EnumVal></EnumType>
<EnumType id="Mul"><EnumVal ord="0"/><EnumVal ord="3">k</EnumVal></EnumType>
</DataTypeTemplates>"""  # noqa: E501 - a table
POSITIONS = '<DataSet name="ds"><FCDA ldInst="LD0" lnClass="XCBR" lnInst="1" doName="Pos" fc="ST"/></DataSet>'
REPORT = '<ReportControl name="rcb" datSet="ds" confRev="1" buffered="true"><TrgOps dchg="true"/></ReportControl>'


def ln(ln_class: str, inst: str = "1", inside: str = "", **more: str) -> str:
    """A logical node of the usual type of its class."""
    attributes = {"lnClass": ln_class, "inst": inst, "lnType": f"{ln_class}_T", **more}
    said = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<LN{said}>{inside}</LN>"


def control(model: str = "sbo-with-enhanced-security", desc: str = "") -> str:
    """What an LN says of its commanded position."""
    said = f' desc="{desc}"' if desc else ""
    return f'<DOI name="Pos"{said}><DAI name="ctlModel"><Val>{model}</Val></DAI></DOI>'


def ld(inst: str = "LD0", nodes: str = "", first: str = "") -> str:
    """A logical device; `first` goes into its LLN0."""
    return f'<LDevice inst="{inst}"><LN0 lnClass="LLN0" inst="" lnType="LLN0_T">{first}</LN0>{nodes}</LDevice>'


def ied(name: str = "F01Q1", devices: str | None = None, access_point: str = "AP1", more: str = "") -> str:
    """An IED with one server."""
    usual = ld(nodes=ln("XCBR") + ln("CSWI", "1", control()), first=POSITIONS + REPORT)
    inside = usual if devices is None else devices
    server = f'<AccessPoint name="{access_point}"><Server><Authentication/>{inside}</Server></AccessPoint>'
    return f'<IED name="{name}">{server}{more}</IED>'


def address(ied_name: str = "F01Q1", host: str = "10.0.0.1", access_point: str = "AP1", more: str = "") -> str:
    """A ConnectedAP."""
    texts = f'<P type="IP">{host}</P>{more}'
    return f'<ConnectedAP iedName="{ied_name}" apName="{access_point}"><Address>{texts}</Address></ConnectedAP>'


def network(*points: str, kind: str = "8-MMS") -> str:
    """A SubNetwork with its ConnectedAP."""
    return f'<SubNetwork name="N{kind}" type="{kind}">{"".join(points)}</SubNetwork>'


def scl(
    ieds: Sequence[str] = (),
    *,
    substation: str = "",
    networks: Sequence[str] | None = None,
    types: str = DATA_TYPES,
    attributes: str = 'version="2007" revision="B" release="4"',
    namespace: str = NAMESPACE,
) -> str:
    """A whole file, one element of the top level a line."""
    nets = "".join(networks) if networks is not None else network(address())
    space = f' xmlns="{namespace}"' if namespace else ""
    parts = [f"<SCL{space} {attributes}>", '<Header id="test"/>', substation, f"<Communication>{nets}</Communication>"]
    return HEAD + "\n".join([*parts, *(ieds or [ied()]), types, "</SCL>"]) + "\n"


def lnode(ln_class: str, inst: str = "1", ied_name: str = "F01Q1", device: str = "LD0") -> str:
    """A reference from the substation section."""
    return f'<LNode iedName="{ied_name}" ldInst="{device}" lnClass="{ln_class}" lnInst="{inst}"/>'


def bay(inside: str, name: str = "F01", level: str = "MV1", site: str = "PS01") -> str:
    """A substation section with one bay."""
    voltage = f'<VoltageLevel name="{level}"><Bay name="{name}" desc="Feeder 1">{inside}</Bay></VoltageLevel>'
    return f'<Substation name="{site}">{voltage}</Substation>'
