// A generic OPC UA client: sends any request that a JSON line on standard input describes and prints its answer.
//
// A line is {id, do, as, ...}: `as` names the connection. `connect` {url, security, mode, user, password, certificate,
// key, application: {certificate, key}, session, timeout}, `request` {request, fields}, `disconnect` {keep}, `drop`.
// Fields are JSON with these tagged forms: {$type: "DataChangeFilter", ...} a structure, {$variant: [type, value]},
// {$bytes: hex}, {$node: text}, {$date: iso}, {$name: [namespace, name]}, {$text: [text, locale]}, {$data: fields of a DataValue}.
"use strict";
const fs = require("node:fs");
const client = require("node-opcua-client");
const types = require("node-opcua-types");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { DataType, DataValue, LocalizedText, MessageSecurityMode, OPCUAClient, QualifiedName, SecurityPolicy } = client;
const { StatusCode, UserTokenType, Variant, VariantArrayType } = client;

// Only JSON goes to standard output; what the library says goes to standard error.
console.log = console.info = console.warn = (...words) => process.stderr.write(`${words.join(" ")}\n`);

const connections = new Map();
let manager;

const TAGS = {
  $type: (name, fields) => new types[name](fields),
  $variant: ([dataType, value]) => new Variant({
    dataType: DataType[dataType], value,
    arrayType: Array.isArray(value) ? VariantArrayType.Array : VariantArrayType.Scalar,
  }),
  $bytes: (hex) => Buffer.from(hex, "hex"),
  $node: (text) => client.resolveNodeId(text),
  $date: (text) => new Date(text),
  $name: ([namespaceIndex, name]) => new QualifiedName({ namespaceIndex, name }),
  $text: ([text, locale]) => new LocalizedText({ text, locale: locale || null }),
  $data: (fields) => new DataValue(fields),
};

function build(value) {
  if (Array.isArray(value)) return value.map(build);
  if (value === null || typeof value !== "object") return value;
  const tag = Object.keys(value).find((key) => key in TAGS);
  const fields = Object.fromEntries(Object.entries(value).filter(([key]) => key !== tag).map(([key, each]) => [key, build(each)]));
  return tag ? TAGS[tag](tag === "$type" ? value[tag] : build(value[tag]), fields) : fields;
}

const OWN = {
  NodeId: (value) => value.toString(),
  ExpandedNodeId: (value) => value.toString(),
  QualifiedName: (value) => ({ namespaceIndex: value.namespaceIndex, name: value.name }),
  LocalizedText: (value) => ({ text: value.text ?? null, locale: value.locale ?? null }),
  Variant: (value) => ({ dataType: DataType[value.dataType], arrayType: VariantArrayType[value.arrayType], value: plain(value.value) }),
  OpaqueStructure: (value) => ({ $type: value.nodeId.toString(), octets: value.buffer.toString("hex") }),
};

function plain(value) {
  if (typeof value === "bigint") return Number(value);
  if (value === null || value === undefined || typeof value !== "object") return value ?? null;
  if (value instanceof Date) return value.toISOString();
  if (Buffer.isBuffer(value)) return value.toString("hex");
  if (value instanceof StatusCode) return value.name;
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value, plain);
  const name = value.constructor ? value.constructor.name : "";
  if (name in OWN) return OWN[name](value);
  const entries = Object.entries(value).filter(([key]) => key !== "schema").map(([key, each]) => [key, plain(each)]);
  return Object.fromEntries(value.schema ? [["$type", value.schema.name], ...entries] : entries);
}

const faultOf = (error) => error.response?.responseHeader?.serviceResult?.name;

const transact = (channel, request) => new Promise((resolve, reject) => {
  channel.performMessageTransaction(request, (error, response) => {
    const fault = error && faultOf(error);
    if (fault) resolve({ fault });
    else if (error) reject(error);
    else if (response.responseHeader.serviceResult.isGood()) resolve(plain(response));
    else resolve({ ...plain(response), fault: response.responseHeader.serviceResult.name });
  });
});

function identity({ user, password, certificate, key }) {
  if (certificate) {
    return { type: UserTokenType.Certificate, certificateData: fs.readFileSync(certificate), privateKey: fs.readFileSync(key, "ascii") };
  }
  return user ? { type: UserTokenType.UserName, userName: user, password } : { type: UserTokenType.Anonymous };
}

const operations = {
  async connect(order) {
    if (!manager) {
      manager = new OPCUACertificateManager({ rootFolder: order.pki, automaticallyAcceptUnknownCertificate: true });
      await manager.initialize();
    }
    const application = order.application || {};
    const made = OPCUAClient.create({
      applicationName: "agent", clientCertificateManager: manager, endpointMustExist: false,
      ...(application.uri ? { applicationUri: application.uri } : {}),
      ...(application.certificate ? { certificateFile: application.certificate, privateKeyFile: application.key } : {}),
      requestedSessionTimeout: order.timeout || 60000, keepSessionAlive: false, keepPendingSessionsOnDisconnect: true,
      connectionStrategy: { maxRetry: 0, initialDelay: 50 }, transportTimeout: 60000,
      securityMode: MessageSecurityMode[order.mode || "None"], securityPolicy: SecurityPolicy[order.security || "None"],
    });
    made.on("backoff", () => made.disconnect(() => {}));
    await made.connect(order.url);
    try {
      const session = order.session === false ? null : await made.createSession(identity(order));
      connections.set(order.as, { made, session });
      return { session: session ? session.sessionId.toString() : null };
    } catch (error) {
      await made.disconnect();
      throw error;
    }
  },
  async request({ as, request, fields }) {
    const { made, session } = connections.get(as);
    return transact(session || made, new types[request](build(fields || {})));
  },
  // The client's own functions for alarms: acknowledgeCondition, confirmCondition, addCommentCondition.
  async alarm({ as, method, condition, event, comment }) {
    const status = await connections.get(as).session[method](condition, Buffer.from(event, "hex"), comment);
    return { status: status.name };
  },
  async disconnect({ as, keep }) {
    const { made, session } = connections.get(as);
    connections.delete(as);
    if (session) await session.close(!keep).catch((error) => { if (!faultOf(error)) throw error; });
    await made.disconnect();
    return {};
  },
  // The connection ends without CloseSession.
  async drop({ as }) {
    const { made } = connections.get(as);
    connections.delete(as);
    const channel = made._secureChannel;
    if (channel && channel.getTransport) channel.getTransport()?.disconnect(() => {});
    made.disconnect(() => {});
    return {};
  },
};

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, do: name, ...order } = JSON.parse(line);
  operations[name](order).then(
    (result) => say({ id, result }),
    (error) => say({ id, error: error.message, status: faultOf(error) || (/\b(Bad|Uncertain)[A-Z]\w+/.exec(error.message) || [null])[0] }),
  );
}).on("close", () => process.exit(0));
