"""A small CIM model of our own: one node, and loads at it."""

from __future__ import annotations

from collections.abc import Mapping

HEAD = """\
<?xml version="1.0"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:cim="http://iec.ch/TC57/CIM100#">
<cim:Substation rdf:about="#_s"><cim:IdentifiedObject.name>ps</cim:IdentifiedObject.name></cim:Substation>
<cim:BaseVoltage rdf:about="#_v"><cim:BaseVoltage.nominalVoltage>4160</cim:BaseVoltage.nominalVoltage></cim:BaseVoltage>
<cim:VoltageLevel rdf:about="#_l"><cim:IdentifiedObject.name>MV1</cim:IdentifiedObject.name>
<cim:VoltageLevel.Substation rdf:resource="#_s"/><cim:VoltageLevel.BaseVoltage rdf:resource="#_v"/></cim:VoltageLevel>
<cim:ConnectivityNode rdf:about="#_a"><cim:IdentifiedObject.name>a</cim:IdentifiedObject.name>
<cim:ConnectivityNode.ConnectivityNodeContainer rdf:resource="#_l"/></cim:ConnectivityNode>
"""
LOAD = """\
<cim:EnergyConsumer rdf:about="#_{name}"><cim:IdentifiedObject.name>{name}</cim:IdentifiedObject.name>
<cim:Equipment.EquipmentContainer rdf:resource="#_l"/><cim:ConductingEquipment.BaseVoltage rdf:resource="#_v"/>
<cim:EnergyConsumer.p>{p}</cim:EnergyConsumer.p><cim:EnergyConsumer.q>{q}</cim:EnergyConsumer.q></cim:EnergyConsumer>
<cim:Terminal rdf:about="#_t{name}"><cim:Terminal.ConductingEquipment rdf:resource="#_{name}"/>
<cim:Terminal.ConnectivityNode rdf:resource="#_a"/></cim:Terminal>
"""


def model(loads: Mapping[str, tuple[int, int]]) -> str:
    """The file with these loads: name -> active and reactive power in W and var."""
    return HEAD + "".join(LOAD.format(name=name, p=p, q=q) for name, (p, q) in loads.items()) + "</rdf:RDF>\n"
