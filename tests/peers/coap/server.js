// npm coap server steered by JSON lines on stdin: {"path", "payload" (text) or "hex", "code", "format", "maxAge"}.
// A path that has not been set answers 4.04. {"path", "silent": true} makes a resource swallow its requests.
'use strict'
const coap = require('coap')
const readline = require('readline')

const resources = new Map()
const observers = new Map()

function write (res, resource) {
  res.statusCode = resource.code || '2.05'
  if (resource.maxAge !== undefined) res.setOption('Max-Age', resource.maxAge)
  if (resource.format !== undefined) res.setOption('Content-Format', Buffer.from(resource.format > 255 ? [resource.format >> 8, resource.format & 255] : [resource.format]))
  const body = resource.hex !== undefined ? Buffer.from(resource.hex, 'hex') : Buffer.from(resource.payload || '')
  return body
}

const server = coap.createServer((req, res) => {
  const path = req.url.split('?')[0]
  const resource = resources.get(path)
  if (resource && req.method !== 'GET') {
    // A write: the resource takes the body, unless it is set to refuse.
    if (resource.refuse) {
      res.statusCode = resource.refuse
      return res.end(resource.why || '')
    }
    if (resource.silentWrites) return
    resource.payload = req.payload.toString()
    res.statusCode = '2.04'
    return res.end()
  }
  if (!resource) {
    res.statusCode = '4.04'
    return res.end()
  }
  if (resource.silent) return
  const body = write(res, resource)
  if (req.headers.Observe === 0 && res.statusCode[0] === '2' && !resource.plain) {
    if (!observers.has(path)) observers.set(path, new Set())
    observers.get(path).add(res)
    res.on('finish', () => observers.get(path).delete(res))
    res.on('error', () => observers.get(path).delete(res))
    return res.write(body)
  }
  res.end(body)
})
server.on('error', () => {})

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line)
  resources.set(order.path, order)
  for (const res of observers.get(order.path) || []) {
    const body = write(res, order)
    res.write(body)
  }
}).on('close', () => process.exit(0))

server.listen(Number(process.argv[2]), '127.0.0.1', () => {
  process.stdout.write(JSON.stringify({ port: Number(process.argv[2]) }) + '\n')
})
