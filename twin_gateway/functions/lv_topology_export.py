"""Findings of low-voltage topology as text for other systems: CSV, and CIM as RDF/XML."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import quoteattr

from address_space.address import parse
from twin_gateway.functions.lv_topology_store import StoredFinding
from twin_gateway.twin.lv_topology.finding import State

COLUMNS = (
    "finding",
    "meter",
    "state",
    "confidence",
    "transformer",
    "phases",
    "parent",
    "recorded_transformer",
    "recorded_phases",
    "reason",
)
_CIM = "http://iec.ch/TC57/CIM100#"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def as_csv(items: Sequence[StoredFinding]) -> str:
    """All findings, one a line, with a line of names first (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for item in items:
        finding = item.finding
        writer.writerow(
            (
                item.id,
                finding.meter,
                finding.state.value,
                f"{finding.confidence:.4f}",
                finding.transformer,
                finding.phases,
                finding.parent,
                finding.recorded_transformer,
                finding.recorded_phases,
                finding.reason.value,
            )
        )
    return out.getvalue()


def as_cim(items: Sequence[StoredFinding], mrids: Mapping[str, str], authority: str = "") -> str:
    """What is known of the usage points: phases and transformer (IEC 61968-11), of agreeing and confirmed findings.

    Findings that differ are proposals and not part of the model until somebody accepts them.

    Args:
        items: findings.
        mrids: mRID by address, where the grid model has one; others get the UUID of their address.
        authority: URI of the grid authority, as in the addresses' URIs.
    """
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<rdf:RDF xmlns:rdf="{_RDF}" xmlns:cim="{_CIM}">']
    for item in items:
        finding = item.finding
        if finding.state not in {State.AGREES, State.CONFIRMED}:
            continue
        phases = "".join(sorted(finding.phases)) + "N"
        about = quoteattr(f"#_{_mrid(finding.meter, mrids, authority)}")
        transformer = quoteattr(f"#_{_mrid(finding.transformer, mrids, authority)}")
        code = quoteattr(f"{_CIM}PhaseCode.{phases}")
        lines += [
            f"  <cim:UsagePoint rdf:about={about}>",
            f"    <cim:IdentifiedObject.name>{finding.meter}</cim:IdentifiedObject.name>",
            f"    <cim:UsagePoint.phaseCode rdf:resource={code}/>",
            f"    <cim:UsagePoint.Equipments rdf:resource={transformer}/>",
            "  </cim:UsagePoint>",
        ]
    lines.append("</rdf:RDF>")
    return "\n".join(lines) + "\n"


def _mrid(address: str, mrids: Mapping[str, str], authority: str) -> str:
    return mrids.get(address) or str(
        parse(address).uuid(authority) if authority else uuid.uuid5(uuid.NAMESPACE_URL, address)
    )
