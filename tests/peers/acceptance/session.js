// A SCADA client on npm node-opcua: one session that stays, with subscriptions; JSON lines in, JSON lines out.
//
// in:  {"id": 1, "do": "connect", "url": …, "pki": …, "secure": true, "user": …, "password": …}, then browse, path,
//      read, call, monitor; out: {"id": 1, "result": …} or {"id": 1, "error": …}, and on its own account
//      {"change": nodeId, "value": …, "status": …, "source": …, "server": …} and {"event": "connection_lost"}.
"use strict";
const path = require("path");
const here = require("module").createRequire(path.join(__dirname, "../opcua/client.js"));
const {
  AttributeIds, BrowseDirection, ClientMonitoredItemGroup, ClientSubscription, DataType, MessageSecurityMode, OPCUAClient,
  SecurityPolicy, TimestampsToReturn, UserTokenType, Variant, makeBrowsePath,
} = here("node-opcua-client");
const { OPCUACertificateManager } = here("node-opcua-certificate-manager");

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const plain = (value) => {
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (value === null || value === undefined || typeof value !== "object") return value ?? null;
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value, plain);
  if (value.constructor && value.constructor.name === "NodeId") return value.toString();
  return Object.fromEntries(Object.entries(value).filter(([key]) => key !== "schema").map(([key, each]) => [key, plain(each)]));
};
const sample = (value) => ({
  status: value.statusCode.name, code: value.statusCode.value, value: plain(value.value && value.value.value),
  type: value.value ? DataType[value.value.dataType] : null,
  source: plain(value.sourceTimestamp), server: plain(value.serverTimestamp),
});

let client, session;
const subscriptions = [];

const operations = {
  async connect({ url, pki, secure, user, password }) {
    const manager = new OPCUACertificateManager({ rootFolder: pki, automaticallyAcceptUnknownCertificate: true });
    await manager.initialize();
    client = OPCUAClient.create({
      applicationName: "acceptance", clientCertificateManager: manager, endpointMustExist: false, keepSessionAlive: true,
      requestedSessionTimeout: 20000, transportTimeout: 8000,
      connectionStrategy: { maxRetry: -1, initialDelay: 100, maxDelay: 500 },
      securityMode: secure ? MessageSecurityMode.SignAndEncrypt : MessageSecurityMode.None,
      securityPolicy: secure ? SecurityPolicy.Basic256Sha256 : SecurityPolicy.None,
    });
    for (const name of ["connection_lost", "connection_reestablished", "after_reconnection", "close"]) {
      client.on(name, () => say({ event: name }));
    }
    await client.connect(url);
    session = await client.createSession(
      user ? { type: UserTokenType.UserName, userName: user, password } : { type: UserTokenType.Anonymous },
    );
    session.on("session_restored", () => say({ event: "session_restored" }));
    return { namespaces: await session.readNamespaceArray() };
  },
  async browse({ nodeId }) {
    const found = await session.browse({
      nodeId, browseDirection: BrowseDirection.Forward, referenceTypeId: "HierarchicalReferences", includeSubtypes: true,
      nodeClassMask: 0, resultMask: 63,
    });
    return (found.references || []).map((each) => ({
      name: each.browseName.name, nodeId: each.nodeId.toString(), nodeClass: each.nodeClass,
      type: each.typeDefinition.toString(),
    }));
  },
  async path({ start, path: text }) {
    const found = await session.translateBrowsePath(makeBrowsePath(start, text));
    return { status: found.statusCode.name, targets: (found.targets || []).map((each) => each.targetId.toString()) };
  },
  async read({ nodes, attribute }) {
    const wanted = nodes.map((nodeId) => ({ nodeId, attributeId: AttributeIds[attribute || "Value"] }));
    return (await session.read(wanted)).map(sample);
  },
  async call({ objectId, methodId, inputs }) {
    const found = await session.call({
      objectId, methodId, inputArguments: inputs.map(([type, value]) => new Variant({ dataType: DataType[type], value })),
    });
    return { status: found.statusCode.name, outputs: (found.outputArguments || []).map((each) => plain(each.value)) };
  },
  async monitor({ nodes, interval }) {
    const subscription = ClientSubscription.create(session, {
      requestedPublishingInterval: interval || 100, requestedLifetimeCount: 600, requestedMaxKeepAliveCount: 20,
      maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 0,
    });
    subscriptions.push(subscription);
    const group = ClientMonitoredItemGroup.create(
      subscription, nodes.map((nodeId) => ({ nodeId, attributeId: AttributeIds.Value })),
      { samplingInterval: 0, discardOldest: true, queueSize: 100 }, TimestampsToReturn.Both,
    );
    group.on("changed", (_item, value, index) => say({ change: nodes[index], ...sample(value) }));
    await new Promise((resolve, reject) => { group.once("initialized", resolve); group.once("err", (text) => reject(new Error(text))); });
    return group.monitoredItems.map((item) => item.statusCode.name);
  },
  async close() {
    for (const subscription of subscriptions) await subscription.terminate();
    await session.close();
    await client.disconnect();
    return null;
  },
};

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, do: name, ...order } = JSON.parse(line);
  operations[name](order).then((result) => say({ id, result }), (error) => say({ id, error: error.message }));
}).on("close", () => process.exit(0));
