// Node's `ws` with permessage-deflate against /echo: node ws_deflate.cjs URL, where URL ends with /echo.
'use strict'

const assert = require('node:assert/strict')
const { randomBytes } = require('node:crypto')
const { once } = require('node:events')
const { WebSocket } = require('ws')

const url = process.argv[2]
const agreed = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'

// What `ws` offers, and what it is answered. It closes a connection whose answer it can't bear.
const offers = [
  [{}, agreed],
  [{ threshold: 0 }, agreed],
  [{ serverNoContextTakeover: true, clientNoContextTakeover: true }, agreed],
  [{ clientMaxWindowBits: 9 }, agreed],
  [{ clientMaxWindowBits: true }, agreed],
  [{ serverMaxWindowBits: 15 }, `${agreed}; server_max_window_bits=12`],
  [{ serverMaxWindowBits: 12, threshold: 0 }, `${agreed}; server_max_window_bits=12`],
  [{ serverMaxWindowBits: 9 }, '']
]

async function open(perMessageDeflate) {
  const socket = new WebSocket(url, { perMessageDeflate })
  const [[response]] = await Promise.all([once(socket, 'upgrade'), once(socket, 'open')])
  return { socket, answer: response.headers['sec-websocket-extensions'] ?? '' }
}

async function echoes(socket, message) {
  const heard = once(socket, 'message')
  socket.send(message)
  const [data, isBinary] = await heard
  assert.equal(isBinary, typeof message !== 'string')
  assert.ok(data.equals(Buffer.from(message)), `${message.length} came back as ${data.length}`)
}

async function eachOfferIsAnswered() {
  for (const [offer, expected] of offers) {
    const { socket, answer } = await open(offer)
    assert.equal(answer, expected, JSON.stringify(offer))
    for (const message of ['hello', '', 'grüße 🦀'.repeat(500), 'x'.repeat(70_000)]) {
      await echoes(socket, message)
    }
    for (const size of [0, 125, 1_024, 65_536, 1 << 20]) {
      await echoes(socket, Buffer.alloc(size, 0xfe))
      await echoes(socket, randomBytes(size))
    }
    socket.terminate()
  }
}

async function fragments() {
  const { socket } = await open({ threshold: 0 })
  const heard = once(socket, 'message')
  const pong = once(socket, 'pong')
  socket.send('one, '.repeat(300), { fin: false })
  socket.ping('between')
  socket.send('two, '.repeat(300), { fin: false })
  socket.send('three', { fin: true })
  assert.equal((await pong)[0].toString(), 'between')
  const [data] = await heard
  assert.equal(data.toString(), 'one, '.repeat(300) + 'two, '.repeat(300) + 'three')
  socket.terminate()
}

async function orderInFlight() {
  const { socket } = await open({ threshold: 64 })
  const count = 1_000
  const all = new Promise((resolve) => {
    const heard = []
    socket.on('message', (data) => heard.push(data.toString()) === count && resolve(heard))
  })
  const said = Array.from({ length: count }, (_, i) => `${i} `.repeat(i % 50))
  for (const message of said) socket.send(message)
  assert.deepEqual(await all, said)
  socket.terminate()
}

async function tooLargeOnceInflated() {
  const { socket } = await open({ threshold: 0 })
  const closed = once(socket, 'close')
  socket.on('error', () => {})
  socket.send(Buffer.alloc((16 << 20) + 1))
  assert.equal((await closed)[0], 1009)
}

const claims = [eachOfferIsAnswered, fragments, orderInFlight, tooLargeOnceInflated]

async function main() {
  for (const claim of claims) {
    await claim()
    console.log(claim.name)
  }
  console.log(`${claims.length} claims hold`)
}

main()
