// Loads NodeSet2 files as node-opcua's server would, and tells as JSON what it made of some of their nodes.
//
// Arguments: the URI of the namespace, the files, `--`, then string identifiers of nodes in that namespace.
"use strict";
const { AddressSpace } = require("node-opcua-address-space");
const { generateAddressSpace } = require("node-opcua-address-space/nodeJS.js");
const { nodesets } = require("node-opcua-nodesets");

console.log = console.info = console.warn = (...words) => process.stderr.write(`${words.join(" ")}\n`);

async function main() {
  const [uri, ...rest] = process.argv.slice(2);
  const files = rest.slice(0, rest.indexOf("--")), wanted = rest.slice(rest.indexOf("--") + 1);
  const space = AddressSpace.create();
  await generateAddressSpace(space, [nodesets.standard, ...files]);
  const index = space.getNamespaceIndex(uri);
  const told = {};
  for (const name of wanted) {
    const node = space.findNode(`ns=${index};s=${name}`);
    if (!node) { told[name] = null; continue; }
    const unit = node.getPropertyByName("EngineeringUnits");
    const states = node.getPropertyByName("EnumValues");
    told[name] = {
      browseName: node.browseName.name,
      path: node.fullName(),
      type: node.typeDefinitionObj.browseName.name,
      dataType: node.dataType ? space.findDataType(node.dataType).browseName.name : "",
      unit: unit ? [unit.readValue().value.value.displayName.text, unit.readValue().value.value.unitId] : null,
      states: states ? states.readValue().value.value.map((each) => each.displayName.text) : null,
    };
  }
  process.stdout.write(JSON.stringify(told));
  space.dispose();
}

main().then(() => process.exit(0), (error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
