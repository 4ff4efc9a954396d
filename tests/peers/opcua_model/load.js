// Loads NodeSet2 files as node-opcua's server would, and tells as JSON what it made of our types.
//
// Arguments: the files, in order; the first is node-opcua's own namespace 0 when it is the word `standard`.
"use strict";
const { AddressSpace } = require("node-opcua-address-space");
const { generateAddressSpace } = require("node-opcua-address-space/nodeJS.js");
const { nodesets } = require("node-opcua-nodesets");

console.log = console.info = console.warn = (...words) => process.stderr.write(`${words.join(" ")}\n`);

async function main() {
  const files = process.argv.slice(2).map((each) => (each === "standard" ? nodesets.standard : each));
  const space = AddressSpace.create();
  await generateAddressSpace(space, files);
  const index = space.getNamespaceIndex("urn:twin-gateway:UA:Grid");
  const type = (name) => space.findObjectType(name, index);
  const variable = space.findVariableType("DPCType", index);
  const outcome = space.findDataType("CommandOutcomeDataType", index);
  const states = space.findDataType("DpStatusKind", index);
  const made = space.getOwnNamespace().addObject({ browseName: "QA1", organizedBy: space.rootFolder.objects });
  const node = type("CSWIType").instantiate({ browseName: "CSWI1", componentOf: made, optionals: ["Pos", "Operate"] });
  process.stdout.write(JSON.stringify({
    index,
    breaker: type("CircuitBreakerType").isSubtypeOf(type("EquipmentType")),
    device: type("GridDeviceType").subtypeOfObj.browseName.toString(),
    link: type("LinkType").isSubtypeOf(space.findObjectType("DeviceType", space.getNamespaceIndex("http://opcfoundation.org/UA/DI/"))),
    position: variable.subtypeOfObj.browseName.toString(),
    fields: outcome.getDefinition ? Object.keys(new (space.getExtensionObjectConstructor(outcome))({})) : [],
    labels: states.getEnumDefinition ? states.getEnumDefinition().nameIndex : {},
    event: space.findEventType("FlisrEventType", index).subtypeOfObj.browseName.toString(),
    instance: [node.pos.typeDefinitionObj.browseName.toString(), node.operate.nodeClass],
  }));
  space.dispose();
}

main().then(() => process.exit(0), (error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
