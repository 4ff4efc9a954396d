// An independent OPC UA client: does what each JSON line on standard input says and prints one for it.
"use strict";
const {
  AggregateFunction, AttributeIds, BrowseDirection, ClientMonitoredItem, DataType, MessageSecurityMode, OPCUAClient, SecurityPolicy,
  TimestampsToReturn, UserTokenType, Variant, VariantArrayType, coerceNodeId, makeBrowsePath,
} = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");

const plain = (value) => {
  if (typeof value === "bigint") return Number(value);
  if (value === null || value === undefined || typeof value !== "object") return value ?? null;
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value, plain);
  if (value.constructor && value.constructor.name === "NodeId") return value.toString();
  if (value.constructor && value.constructor.name === "StatusCode") return value.name;
  if (typeof value.toJSON === "function" && !value.schema) return plain(value.toJSON());
  return Object.fromEntries(Object.entries(value).filter(([key]) => key !== "schema").map(([key, each]) => [key, plain(each)]));
};

const operations = {
  async browse(session, { nodeId, max, mask, classes, direction }) {
    session.requestedMaxReferencesPerNode = max || 0;
    const first = await session.browse({
      nodeId, browseDirection: direction === "inverse" ? BrowseDirection.Inverse : BrowseDirection.Forward,
      referenceTypeId: "HierarchicalReferences", includeSubtypes: true, nodeClassMask: classes || 0,
      resultMask: mask === undefined ? 63 : mask,
    });
    const parts = [first];
    while (parts.at(-1).continuationPoint && parts.at(-1).continuationPoint.length) {
      parts.push(await session.browseNext(parts.at(-1).continuationPoint, false));
    }
    return {
      status: first.statusCode.name,
      parts: parts.map((part) => (part.references || []).length),
      references: parts.flatMap((part) => part.references || []).map((each) => ({
        name: each.browseName.name, nodeId: each.nodeId.toString(), display: each.displayName.text,
        nodeClass: each.nodeClass, type: each.typeDefinition.toString(), reference: each.referenceTypeId.toString(),
      })),
    };
  },
  async read(session, { nodeId, attribute }) {
    const value = await session.read({ nodeId, attributeId: AttributeIds[attribute || "Value"] });
    return {
      status: value.statusCode.name, value: plain(value.value.value), type: DataType[value.value.dataType],
      source: plain(value.sourceTimestamp),
    };
  },
  async write(session, { nodeId, value }) {
    const status = await session.write({
      nodeId, attributeId: AttributeIds.Value, value: { value: { dataType: DataType.Int32, value } },
    });
    return { status: status.name };
  },
  async path(session, { start, path }) {
    const result = await session.translateBrowsePath(makeBrowsePath(start, path));
    return { status: result.statusCode.name, targets: (result.targets || []).map((each) => each.targetId.toString()) };
  },
  async call(session, { objectId, methodId, inputs }) {
    const result = await session.call({
      objectId, methodId,
      inputArguments: inputs.map(([type, value]) => new Variant({ dataType: DataType[type], value })),
    });
    return {
      status: result.statusCode.name,
      outputs: (result.outputArguments || []).map((each) => plain(each.value)),
      arguments: (result.inputArgumentResults || []).map((each) => each.name),
    };
  },
  // Monitors values for `ms` milliseconds and tells every notification, in order.
  async watch(session, { nodeIds, ms, interval, queue }) {
    const subscription = await session.createSubscription2({
      requestedPublishingInterval: interval || 50, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 20,
      maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 1,
    });
    const heard = [];
    for (const nodeId of nodeIds) {
      const item = ClientMonitoredItem.create(
        subscription, { nodeId, attributeId: AttributeIds.Value },
        { samplingInterval: interval || 50, queueSize: queue || 10, discardOldest: true }, TimestampsToReturn.Both,
      );
      item.on("changed", (value) => heard.push({
        nodeId, status: value.statusCode.name, value: plain(value.value.value), source: plain(value.sourceTimestamp),
      }));
      item.on("err", (message) => heard.push({ nodeId, error: message }));
    }
    await new Promise((resolve) => setTimeout(resolve, ms));
    await subscription.terminate();
    return heard;
  },
  // Values of a time range, in parts of `max` values.
  async history(session, { nodeId, start, end, max }) {
    const values = [];
    let parts = 0, continuationPoint;
    do {
      const options = { numValuesPerNode: max || 0, timestampsToReturn: TimestampsToReturn.Both };
      const result = await session.readHistoryValue({ nodeId, continuationPoint }, new Date(start), new Date(end), options);
      if (result.statusCode.value >= 0x80000000) return { status: result.statusCode.name };
      for (const each of result.historyData.dataValues || []) {
        values.push([plain(each.value.value), each.statusCode.value, plain(each.sourceTimestamp)]);
      }
      parts += 1;
      continuationPoint = result.continuationPoint;
    } while (continuationPoint && continuationPoint.length);
    return { status: "Good", parts, values };
  },
  async aggregate(session, { nodeId, start, end, name, interval }) {
    const result = await session.readAggregateValue(
      { nodeId }, new Date(start), new Date(end), AggregateFunction[name], interval,
    );
    const values = (result.historyData && result.historyData.dataValues) || [];
    return {
      status: result.statusCode.name,
      values: values.map((each) => [plain(each.value.value), each.statusCode.value, plain(each.sourceTimestamp)]),
    };
  },
  async argumentsOf(session, { methodId }) {
    const definition = await session.getArgumentDefinition(coerceNodeId(methodId));
    return {
      inputs: definition.inputArguments.map((each) => each.name),
      outputs: definition.outputArguments.map((each) => each.name),
    };
  },
};

let manager;

async function run(order) {
  if (!manager) {
    manager = new OPCUACertificateManager({ rootFolder: order.pki, automaticallyAcceptUnknownCertificate: true });
    await manager.initialize();
  }
  const client = OPCUAClient.create({
    applicationName: "peer", clientCertificateManager: manager, endpointMustExist: false, requestedSessionTimeout: 30000,
    connectionStrategy: { maxRetry: 0, initialDelay: 100 },
    securityMode: order.secure ? MessageSecurityMode.SignAndEncrypt : MessageSecurityMode.None,
    securityPolicy: order.secure ? SecurityPolicy.Basic256Sha256 : SecurityPolicy.None,
  });
  client.on("backoff", () => client.disconnect(() => {}));
  await client.connect(order.url);
  try {
    const user = order.user
      ? { type: UserTokenType.UserName, userName: order.user, password: order.password }
      : { type: UserTokenType.Anonymous };
    const session = await client.createSession(user);
    const results = [];
    for (const { do: name, ...rest } of order.steps) results.push(await operations[name](session, rest));
    await session.close();
    return results;
  } finally {
    await client.disconnect();
  }
}

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  run(JSON.parse(line)).then(
    (results) => process.stdout.write(`${JSON.stringify({ results })}\n`),
    (error) => process.stdout.write(`${JSON.stringify({ error: error.message })}\n`),
  );
}).on("close", () => process.exit(0));
