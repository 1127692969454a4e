// Node's `ws` against /echo: node ws_client.cjs URL, where URL ends with /echo.
'use strict'

const assert = require('node:assert/strict')
const { once } = require('node:events')
const { WebSocket } = require('ws')

const url = process.argv[2]

async function open(options) {
  const socket = new WebSocket(url, options)
  await once(socket, 'open')
  return socket
}

// Gives the next message as it came: its bytes, and whether they are binary.
async function hear(socket) {
  const [data, isBinary] = await once(socket, 'message')
  return { data, isBinary }
}

async function echoes(socket, message) {
  const heard = hear(socket)
  socket.send(message)
  const { data, isBinary } = await heard
  assert.equal(isBinary, typeof message !== 'string')
  assert.ok(data.equals(Buffer.from(message)), `${message.length} came back as ${data.length}`)
}

async function textAndBinary() {
  const socket = await open()
  assert.equal(socket.extensions, '', 'compression was offered, and not taken')
  for (const message of ['hello', '', 'grüße 🦀', 'x'.repeat(70_000)]) {
    await echoes(socket, message)
  }
  for (const size of [0, 125, 126, 65_535, 65_536, 1 << 20]) {
    await echoes(socket, Buffer.alloc(size, 0xfe))
  }
  socket.terminate()
}

async function fragments() {
  const socket = await open()
  const heard = hear(socket)
  const pong = once(socket, 'pong')
  socket.send('one, ', { fin: false })
  socket.ping('between')
  socket.send('two, ', { fin: false })
  socket.send('three', { fin: true })
  assert.equal((await pong)[0].toString(), 'between')
  assert.equal((await heard).data.toString(), 'one, two, three')
  socket.terminate()
}

async function orderInFlight() {
  const socket = await open()
  const count = 1_000
  const all = new Promise((resolve) => {
    const heard = []
    socket.on('message', (data) => heard.push(data.toString()) === count && resolve(heard))
  })
  const said = Array.from({ length: count }, (_, i) => String(i))
  for (const message of said) socket.send(message)
  assert.deepEqual(await all, said)
  socket.terminate()
}

async function closeCodes() {
  for (const [code, reason] of [[1000, ''], [1001, 'away'], [4321, 'my own']]) {
    const socket = await open()
    const closed = once(socket, 'close')
    socket.close(code, reason)
    assert.equal((await closed)[0], code)
  }
}

async function tooLarge() {
  const socket = await open()
  const closed = once(socket, 'close')
  // The server doesn't read what it refused: writing may fail before the Close is read.
  socket.on('error', () => {})
  socket.send(Buffer.alloc((16 << 20) + 1))
  assert.equal((await closed)[0], 1009)
}

// The server of this test pings often: its first ping may come along with the handshake.
async function heartbeat() {
  const socket = new WebSocket(url, { autoPong: false })
  await Promise.all([once(socket, 'open'), once(socket, 'ping')])
  const next = once(socket, 'ping')
  socket.pong()
  await next
  socket.pong()
  await echoes(socket, 'still here')
  socket.terminate()
}

async function noWebSocketThere() {
  const socket = new WebSocket(url.replace('/echo', '/nowhere'))
  const [request, response] = await once(socket, 'unexpected-response')
  assert.equal(response.statusCode, 404)
  request.destroy()
}

const claims =
  [textAndBinary, fragments, orderInFlight, closeCodes, tooLarge, heartbeat, noWebSocketThere]

async function main() {
  for (const claim of claims) {
    await claim()
    console.log(claim.name)
  }
  console.log(`${claims.length} claims hold`)
}

main()
