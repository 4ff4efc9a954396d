// A SCADA client on npm node-opcua that keeps every notification as a record of ledger.GOT.
//
//     node opcua_client.js URL FILE ADDRESSES.json
//
// It subscribes every address of the list (a NodeId text each) and says {"ready": true} when the server has taken them.
// It ends by itself, with {"lost": true}, when its session is gone; end of stdin ends it.
"use strict";
const fs = require("fs");
const path = require("path");
const here = require("module").createRequire(path.join(__dirname, "../peers/opcua/client.js"));
const {
  AttributeIds, ClientMonitoredItemGroup, ClientSubscription, MessageSecurityMode, OPCUAClient, SecurityPolicy,
  TimestampsToReturn,
} = here("node-opcua-client");

const [url, file, list] = process.argv.slice(2);
const out = fs.openSync(file, "a");
const SIZE = 32;
let buffer = Buffer.alloc(SIZE * 4096);
let used = 0;
const flush = () => { if (used) { fs.writeSync(out, buffer, 0, used); used = 0; } };
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
setInterval(flush, 100);

async function main() {
  const nodes = JSON.parse(fs.readFileSync(list, "utf-8"));
  const client = OPCUAClient.create({
    applicationName: "soak", endpointMustExist: false, keepSessionAlive: true, requestedSessionTimeout: 60000,
    transportTimeout: 30000, connectionStrategy: { maxRetry: 20, initialDelay: 100, maxDelay: 500 },
    securityMode: MessageSecurityMode.None, securityPolicy: SecurityPolicy.None,
  });
  const over = (what) => () => { flush(); say({ lost: true, what }); process.exit(0); };
  await client.connect(url);
  client.on("connection_lost", over("connection"));
  const session = await client.createSession();
  session.on("session_closed", over("session"));
  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: 100, requestedLifetimeCount: 600, requestedMaxKeepAliveCount: 20,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 0,
  });
  subscription.on("terminated", over("subscription"));
  for (let first = 0; first < nodes.length; first += 200) {
    const some = nodes.slice(first, first + 200);
    const group = ClientMonitoredItemGroup.create(
      subscription, some.map((nodeId) => ({ nodeId, attributeId: AttributeIds.Value })),
      { samplingInterval: 0, discardOldest: true, queueSize: 2000 }, TimestampsToReturn.Source,
    );
    group.on("changed", (_item, value, index) => {
      if (used === buffer.length) flush();
      const number = value.value ? value.value.value : null;
      buffer.writeUInt32LE(first + index, used);
      buffer.writeUInt32LE(value.statusCode.value >>> 0, used + 4);
      buffer.writeDoubleLE(typeof number === "number" ? number : NaN, used + 8);
      buffer.writeDoubleLE(value.sourceTimestamp ? value.sourceTimestamp.getTime() : NaN, used + 16);
      buffer.writeDoubleLE(Date.now(), used + 24);
      used += SIZE;
    });
    await new Promise((resolve, reject) => {
      group.once("initialized", resolve);
      group.once("err", (text) => reject(new Error(text)));
    });
    for (const item of group.monitoredItems) {
      if (item.statusCode.value !== 0) throw new Error(`refused: ${item.statusCode.toString()}`);
    }
  }
  say({ ready: true });
  process.stdin.resume();
  process.stdin.on("end", async () => { flush(); await session.close(); await client.disconnect(); flush(); process.exit(0); });
}
main().catch((error) => { say({ lost: true, what: error.message }); process.exit(1); });
