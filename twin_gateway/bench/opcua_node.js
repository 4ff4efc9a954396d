// The second yardstick of the OPC UA benchmark: node-opcua's server, whose variables are set one by one.
// Arguments: port, number of variables. Prints a line when it listens; every line on its standard input, a number of
// seconds, has it set all variables in turn for so long and print what it did; with 0 it only tells its memory.
"use strict";
const { OPCUAServer } = require("node-opcua-server");
const { Variant, DataType } = require("node-opcua-variant");
const { StatusCodes } = require("node-opcua-status-code");
const readline = require("readline");
const [port, count] = process.argv.slice(2).map(Number);

const pause = () => new Promise((done) => setImmediate(done));

async function write(variables, seconds) {
  if (!seconds) {
    if (global.gc) global.gc();
    return { rss: process.memoryUsage().rss };
  }
  const began = process.hrtime.bigint();
  const spent = () => Number(process.hrtime.bigint() - began) / 1e9;
  let written = 0;
  while (spent() < seconds) {
    for (let start = 0; start < variables.length; start += 500) {
      for (const variable of variables.slice(start, start + 500)) {
        variable.setValueFromSource({ dataType: DataType.Double, value: written++ });
      }
      await pause();
    }
  }
  return { written, seconds: spent() };
}

(async () => {
  const server = new OPCUAServer({
    port, allowAnonymous: true, maxConnectionsPerEndpoint: 200,
    securityPolicies: ["http://opcfoundation.org/UA/SecurityPolicy#None"], securityModes: [1],
    serverCapabilities: {
      maxSessions: 200, maxMonitoredItems: 200000, maxMonitoredItemsPerSubscription: 200000,
      operationLimits: { maxMonitoredItemsPerCall: 10000, maxNodesPerRead: 10000 },
    },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const own = space.getOwnNamespace();
  const variables = [];
  let folder;
  for (let number = 0; number < count; number += 1) {
    if (number % 100 === 0) {
      folder = own.addFolder("ObjectsFolder", { nodeId: `s=F${number}`, browseName: `F${number}` });
    }
    variables.push(own.addVariable({
      componentOf: folder, nodeId: `s=V${number}`, browseName: `V${number}`, dataType: "Double",
      minimumSamplingInterval: 0, value: new Variant({ dataType: DataType.Double, value: 0 }),
    }));
  }
  const method = own.addMethod(space.findNode(`ns=${own.index};s=F0`), {
    nodeId: "s=Double", browseName: "Double",
    inputArguments: [{ name: "value", dataType: DataType.Double }],
    outputArguments: [{ name: "result", dataType: DataType.Double }],
  });
  method.bindMethod((inputs, _context, done) => done(null, {
    statusCode: StatusCodes.Good, outputArguments: [{ dataType: DataType.Double, value: 2 * inputs[0].value }],
  }));
  await server.start();
  console.log(JSON.stringify({ namespace: own.index }));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await write(variables, Number(line))));
  }
  await server.shutdown(0);
})().catch((error) => { console.error(error); process.exit(1); });
