// A SCADA client on npm node-opcua: one session that stays, with subscriptions; JSON lines in, JSON lines out.
//
// in:  {"id": 1, "do": "connect", "url": …, "pki": …, "secure": true, "user": …, "password": …}, then browse, path,
//      read, call, history, monitor, events; out: {"id": 1, "result": …} or {"id": 1, "error": …}, and on its own account
//      {"change": nodeId, "value": …, "status": …, "source": …, "server": …} and {"event": "connection_lost"}; of what is
//      monitored closely also {"message": sequence number, "subscription": id}, and {"told": fields} of each event.
"use strict";
const path = require("path");
const here = require("module").createRequire(path.join(__dirname, "../opcua/client.js"));
const {
  AttributeIds, BrowseDirection, ClientMonitoredItemGroup, ClientSubscription, DataType, MessageSecurityMode, OPCUAClient,
  SecurityPolicy, TimestampsToReturn, UserTokenType, Variant, makeBrowsePath,
} = here("node-opcua-client");
const { EventFilter, SimpleAttributeOperand } = here("node-opcua-service-filter");
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
// BaseEventType, and what GeneralModelChangeEventType, SemanticChangeEventType and AlarmConditionType have besides.
const FIELDS = {
  type: ["i=2041", "EventType"], source: ["i=2041", "SourceName"], text: ["i=2041", "Message"], nodes: ["i=2133", "Changes"],
  meanings: ["i=2738", "Changes"], active: ["i=2915", "ActiveState", "Id"],
};
const subscribe = (interval, closely) => {
  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: interval || 100, requestedLifetimeCount: 600, requestedMaxKeepAliveCount: 20,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 0,
  });
  subscriptions.push(subscription);
  if (closely) {
    subscription.on("raw_notification", (message) => {
      if ((message.notificationData || []).length) say({ message: message.sequenceNumber, subscription: subscription.subscriptionId });
    });
    for (const name of ["status_changed", "internal_error", "terminated"]) subscription.on(name, () => say({ event: name }));
  }
  return subscription;
};

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
  // Values of a time range; as many as the server gives at once.
  async history({ nodeId, start, end }) {
    const options = { numValuesPerNode: 0, timestampsToReturn: TimestampsToReturn.Both };
    const result = await session.readHistoryValue({ nodeId }, new Date(start), new Date(end), options);
    return { status: result.statusCode.name, values: ((result.historyData || {}).dataValues || []).map(sample) };
  },
  async events({ interval }) {
    const subscription = subscribe(interval, true);
    const selectClauses = Object.values(FIELDS).map(([typeDefinitionId, ...names]) => new SimpleAttributeOperand({
      typeDefinitionId, attributeId: AttributeIds.Value, browsePath: names.map((name) => ({ name })),
    }));
    const filter = new EventFilter({ selectClauses });
    const item = await subscription.monitor(
      { nodeId: "i=2253", attributeId: AttributeIds.EventNotifier }, { samplingInterval: 0, discardOldest: true, queueSize: 1000, filter },
      TimestampsToReturn.Both,
    );
    item.on("changed", (values) => say({ told: Object.fromEntries(Object.keys(FIELDS).map((key, at) => [key, plain(values[at].value)])) }));
    return item.statusCode.name;
  },
  async monitor({ nodes, interval, closely }) {
    const subscription = subscribe(interval, closely);
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
