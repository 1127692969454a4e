// Node's `ws` and the native protocol: node ws_native.cjs URL.
'use strict'

const assert = require('node:assert/strict')
const { once } = require('node:events')
const { WebSocket } = require('ws')

const url = process.argv[2]
const PATIENCE_MS = 10_000
const opened = []

// Somebody on a WebSocket; what comes before an answer waits in the inbox.
class Person {
  constructor(query = '') {
    this.socket = new WebSocket(url + query)
    this.frames = []
    this.wake = () => {}
    this.inbox = []
    this.seq = 0
    this.socket.on('message', (data) => {
      this.frames.push(data.toString())
      this.wake()
    })
    opened.push(this.socket)
  }

  async text() {
    const late = setTimeout(() => this.socket.terminate(), PATIENCE_MS)
    while (this.frames.length === 0) {
      assert.notEqual(this.socket.readyState, WebSocket.CLOSED, 'nothing came')
      await new Promise((resolve) => {
        this.wake = resolve
        this.socket.once('close', resolve)
      })
    }
    clearTimeout(late)
    return this.frames.shift()
  }

  async next() {
    return JSON.parse(await this.text())
  }

  async hear() {
    for (;;) {
      const frame = this.inbox.shift() ?? (await this.next())
      if (frame.type !== 'joined' && frame.type !== 'left') return frame
    }
  }

  async message() {
    const frame = await this.hear()
    assert.equal(frame.type, 'msg', JSON.stringify(frame))
    return frame
  }

  async ok(type, fields) {
    const seq = ++this.seq
    this.say({ type, seq, ...fields })
    for (;;) {
      const frame = await this.next()
      if (frame.seq === seq) {
        assert.equal(frame.type, 'ok', JSON.stringify(frame))
        return frame
      }
      this.inbox.push(frame)
    }
  }

  say(command) {
    this.socket.send(typeof command === 'string' ? command : JSON.stringify(command))
  }

  cut() {
    this.socket.terminate()
  }
}

async function open(query) {
  const person = new Person(query)
  person.hello = await person.next()
  assert.equal(person.hello.type, 'hello')
  return person
}

async function login(uid, ...rooms) {
  const person = await open()
  await person.ok('login', { uid, rooms })
  return person
}

const room = (room) => ({ to: { room } })

async function loginByCommand() {
  const person = await open()
  assert.ok(Number.isSafeInteger(person.hello.fd))
  assert.equal(person.hello.max, 65_536)
  const { channels } = await person.ok('login', { uid: 7, rooms: ['login'] })
  assert.deepEqual(Object.keys(channels).sort(), ['*', '@7', 'login'])
  assert.deepEqual(Object.keys(channels.login).sort(), ['epoch', 'members', 'offset', 'recovered'])
}

async function loginByQuery() {
  const person = await open('?uid=ann%20b&room=tea&room=t%C3%A4')
  const ok = await person.next()
  assert.equal(ok.seq, null)
  assert.deepEqual(Object.keys(ok.channels).sort(), ['*', '@ann b', 'tea', 'tä'])
}

async function arrays() {
  const person = await login('ann', 'arrays')
  person.say([7, 5, 9].map((seq) => ({ type: 'who', seq, room: 'arrays' })))
  for (const seq of [7, 5, 9]) assert.equal((await person.hear()).seq, seq)
}

async function saidInARoom() {
  const [ann, bob] = [await login('ann', 'said'), await login('bob', 'said')]
  const data = { text: 'grüße 🦀', n: [1, null, true], s: '\\"\n' }
  const ok = await ann.ok('say', { ...room('said'), data })
  assert.deepEqual([ok.channel, ok.offset, ok.receivers, ok.duplicate], ['said', 1, 2, false])
  for (const person of [ann, bob]) {
    const heard = await person.message()
    assert.deepEqual([heard.data, heard.from], [data, 'ann'])
    for (const key of ['channel', 'epoch', 'offset', 'id']) assert.equal(heard[key], ok[key])
  }
}

async function saidInPrivate() {
  const [ann, phone, bob] = [await login('pan'), await login('pan'), await login('pob')]
  const ok = await ann.ok('say', { to: { user: 'pob' }, data: 'psst' })
  assert.equal(ok.channel, '@pob')
  for (const [person, channel] of [[ann, '@pan'], [phone, '@pan'], [bob, '@pob']]) {
    const heard = await person.message()
    assert.deepEqual([heard.channel, heard.id, heard.from, heard.to], [channel, ok.id, 'pan', 'pob'])
  }
}

async function pingIsAnsweredWithPong() {
  const person = await open()
  person.say('PING')
  assert.equal(await person.text(), 'PONG')
}

async function whatWasMissedComesFirst() {
  const [ann, bob] = [await login('ann', 'missed'), await login('bob', 'missed')]
  await ann.ok('say', { ...room('missed'), data: 1 })
  const { epoch, offset } = await bob.message()
  bob.cut()
  for (const data of [2, 3]) await ann.ok('say', { ...room('missed'), data })
  const back = await login('bob')
  const resumed = await back.ok('join', { room: 'missed', resume: { epoch, offset } })
  assert.deepEqual([resumed.channels.missed.recovered, resumed.channels.missed.offset], [true, 3])
  await ann.ok('say', { ...room('missed'), data: 4 })
  for (const data of [2, 3, 4]) assert.equal((await back.message()).data, data)
  const late = await login('cid')
  const lost = await late.ok('join', { room: 'missed', resume: { epoch: 'other', offset: 1 } })
  assert.equal(lost.channels.missed.recovered, false)
}

async function historyInPages() {
  const ann = await login('ann', 'history')
  for (const data of [0, 1, 2, 3, 4]) await ann.ok('say', { ...room('history'), data })
  const page = await ann.ok('history', { channel: 'history', after: 1, limit: 2 })
  assert.deepEqual(page.messages.map((message) => message.offset), [2, 3])
  assert.deepEqual([page.more, page.offset], [true, 5])
  const older = await ann.ok('history', { channel: 'history', before: 3 })
  assert.deepEqual(older.messages.map((message) => message.data), [1, 0])
  assert.equal(older.more, false)
}

async function whoAndOnline() {
  const [ann, bob] = [await login('wann', 'who'), await login('wbob', 'who')]
  const who = await ann.ok('who', { room: 'who' })
  assert.deepEqual([who.users, who.connections], [['wann', 'wbob'], 2])
  const { online } = await ann.ok('online', { users: ['wbob', 'nobody'] })
  assert.deepEqual(online, { wbob: true, nobody: false })
  assert.deepEqual(ann.inbox, [{ type: 'joined', room: 'who', uid: 'wbob' }])
  await bob.ok('leave', { room: 'who' })
  assert.deepEqual(await ann.next(), { type: 'left', room: 'who', uid: 'wbob' })
  const closed = once(bob.socket, 'close')
  bob.socket.close(1000)
  assert.equal((await closed)[0], 1000)
}

async function resumeAfterAnAck() {
  const ann = await login('acker', 'acked')
  for (const data of [1, 2, 3]) await ann.ok('say', { ...room('acked'), data })
  for (const offset of [2, 1]) await ann.ok('ack', { channel: 'acked', offset })
  ann.cut()
  const back = await open()
  const ok = await back.ok('login', { uid: 'acker', rooms: ['acked'], resume: { acked: 'acked' } })
  assert.equal(ok.channels.acked.recovered, true)
  assert.equal((await back.message()).offset, 3)
}

async function errWithoutANumber() {
  const person = await login('ann')
  for (const [text, code] of [['{', 'bad_request'], ['{"type":"leave","room":"nowhere"}', 'not_member']]) {
    person.say(text)
    const err = await person.hear()
    assert.deepEqual([err.type, err.seq, err.code], ['err', null, code])
  }
  person.say({ type: 'join', room: 'silent' })
  assert.deepEqual((await person.ok('who', { room: 'silent' })).users, ['ann'])
  assert.deepEqual(person.inbox, [], 'a command without a number was answered')
}

async function aRepeatIsADuplicate() {
  const [ann, bob] = [await login('ann', 'repeat'), await login('bob', 'repeat')]
  const first = await ann.ok('say', { ...room('repeat'), data: 1, id: 'one' })
  const again = await ann.ok('say', { ...room('repeat'), data: 1, id: 'one' })
  assert.deepEqual([again.duplicate, again.offset], [true, first.offset])
  await ann.ok('say', { ...room('repeat'), data: 2 })
  for (const data of [1, 2]) assert.equal((await bob.message()).data, data)
}

const claims = [
  loginByCommand, loginByQuery, arrays, saidInARoom, saidInPrivate, pingIsAnsweredWithPong,
  whatWasMissedComesFirst, historyInPages, whoAndOnline, resumeAfterAnAck, errWithoutANumber,
  aRepeatIsADuplicate,
]

async function main() {
  let failed = 0
  for (const claim of claims) {
    try {
      await claim()
      console.log(claim.name)
    } catch (error) {
      failed += 1
      console.log(`${claim.name} does not hold: ${error.stack}`)
    }
    for (const socket of opened.splice(0)) socket.terminate()
  }
  console.log(`${claims.length - failed} claims hold`)
  process.exitCode = failed > 0 ? 1 : 0
}

main()
