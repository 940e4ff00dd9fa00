// Tells Tidings what becomes of the offers of a Credo issuer, for one process.
//
// What is told follows from Credo's own records, not from its events: an event
// only says when to look. So what happened while this program or Tidings was
// away is told later, as long as Credo keeps the record.
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

import { OpenId4VcIssuanceSessionRepository, OpenId4VcIssuanceSessionState as State, OpenId4VcIssuerEvents } from '@credo-ts/openid4vc'

const offerEnded = 'Credential offer has expired' // in the words of Credo
const leeway = 5_000 // ms behind an offer's end, for a wallet that came at the last moment
const most = 500 // events in one request
const [firstPause, longestPause] = [500, 60_000] // ms after a request that failed

/** Gives the types of events that a session's record stands for, in their order. */
export function eventsOf(session, now = Date.now()) {
  const types = ['offered']
  const untouched = session.state === State.OfferCreated || session.state === State.OfferUriRetrieved
  if (session.state === State.CredentialsPartiallyIssued) types.push('partiallyIssued')
  if (session.state === State.Completed) types.push('completed')
  if (session.state === State.Error) types.push(session.errorMessage === offerEnded ? 'expired' : 'failed')
  // Credo sets no state when an offer ends that no wallet came for.
  if (untouched && session.expiresAt && now > session.expiresAt.getTime() + leeway) types.push('expired')
  return types.map((type) => `openid4vc.issuance.${type}`)
}

const isEnd = (type) => /\.(completed|failed|expired)$/.test(type)

export class Tidings {
  #agent
  #options
  #journal // a line for each event that Tidings has taken, so that it is not told again
  #sessions = new Map() // by id: {told: types, expiresAt}; those that have ended stay, so that none ends twice
  #queue = [] // events that Tidings has not taken so far
  #first = true // the journal does not say that there was a start before
  #sending // while requests are made
  #timer
  #token = { text: '', until: 0 }
  #stopped = new AbortController()

  /** url, clientId and clientSecret are those of Tidings, journal is a file of this program's own. */
  constructor(agent, { url, clientId, clientSecret, journal, look = 1_000 }) {
    this.#agent = agent
    this.#options = { url: url.replace(/\/+$/, ''), clientId, clientSecret, look }
    for (const line of existsSync(journal) ? readFileSync(journal, 'utf8').split('\n') : []) {
      try {
        const { id, type, begun } = JSON.parse(line)
        if (begun) this.#first = false
        else this.#session(id).told.add(type)
      } catch {
        // Empty, or torn by a crash: Tidings drops what it is told twice.
      }
    }
    this.#journal = openSync(journal, 'a', 0o600)
  }

  /** Begins with what happened since the last run; at the first start, with what happens from now on. */
  async start() {
    this.#agent.events.on(OpenId4VcIssuerEvents.IssuanceSessionStateChanged, this.#changed)
    const records = this.#agent.dependencyManager.resolve(OpenId4VcIssuanceSessionRepository)
    const sessions = await records.getAll(this.#agent.context)
    if (this.#first) this.#passOver(sessions)
    for (const session of sessions) this.#look(session)
    this.#timer = setInterval(() => this.#lookForEnds(), this.#options.look)
  }

  /** Ends. What was not told is told after the next start. */
  async stop() {
    this.#agent.events.off(OpenId4VcIssuerEvents.IssuanceSessionStateChanged, this.#changed)
    clearInterval(this.#timer)
    this.#stopped.abort()
    await this.#sending
    closeSync(this.#journal)
  }

  #changed = ({ payload }) => this.#look(payload.issuanceSession)

  #session(id) {
    if (!this.#sessions.has(id)) this.#sessions.set(id, { told: new Set() })
    return this.#sessions.get(id)
  }

  /** Takes what happened before the first start as told, and notes at the end of it that it has begun: a crash before that leaves the next start the first. */
  #passOver(sessions) {
    const before = sessions.flatMap((session) => eventsOf(session).map((type) => ({ id: session.id, type })))
    const unknown = before.filter(({ id, type }) => !this.#session(id).told.has(type)) // but for what an event has brought already
    for (const { id, type } of unknown) this.#session(id).told.add(type)
    this.#note([...unknown, { begun: true }])
  }

  /** Queues what a record stands for and was not told so far. After an end there is nothing more. */
  #look(session) {
    const known = this.#session(session.id)
    known.expiresAt = session.expiresAt
    for (const type of eventsOf(session)) {
      if (known.told.has(type) || [...known.told].some(isEnd)) continue
      known.told.add(type)
      this.#queue.push({ id: session.id, type })
    }
    this.#sendOn()
  }

  #sendOn() {
    if (this.#sending || this.#queue.length === 0 || this.#stopped.signal.aborted) return
    this.#sending = this.#send().finally(() => {
      this.#sending = undefined
      this.#sendOn() // what came just now
    })
  }

  async #lookForEnds() {
    for (const [id, { told, expiresAt }] of this.#sessions) {
      if (!expiresAt || Date.now() < expiresAt.getTime() + leeway || [...told].some(isEnd)) continue
      this.#sessions.get(id).expiresAt = undefined // once; a change sets it again
      try {
        const session = await this.#agent.openid4vc.issuer.getIssuanceSessionById(id)
        this.#look(session)
        if (!(session.expiresAt > expiresAt)) this.#sessions.get(id).expiresAt = undefined // the look has set it
      } catch (error) {
        this.#sessions.get(id).expiresAt = expiresAt
        console.error(`${id} could not be read, trying again:`, error.message)
      }
    }
  }

  /** Sends the queue in its order until it is empty. Nothing is given up. */
  async #send() {
    for (let wait = firstPause; this.#queue.length > 0 && !this.#stopped.signal.aborted; ) {
      const batch = this.#queue.slice(0, most)
      try {
        await this.#publish(batch)
        this.#note(batch)
      } catch (error) {
        if (this.#stopped.signal.aborted) return
        console.error(`Tidings was not told of ${this.#queue.length} events, trying again in ${wait} ms:`, error.cause?.message ?? error.message)
        await pause(wait, undefined, { signal: this.#stopped.signal }).catch(() => {})
        wait = Math.min(2 * wait, longestPause)
        continue
      }
      this.#queue.splice(0, batch.length)
      wait = firstPause
    }
  }

  /** Writes down that events were told. A line begins with its line feed, so that one that is torn spoils no other. */
  #note(events) {
    writeSync(this.#journal, events.map((event) => '\n' + JSON.stringify(event)).join(''))
    fsyncSync(this.#journal)
  }

  /** Publishes events. The idempotency key lets a request be repeated whose answer got lost. */
  async #publish(events) {
    const answer = await fetch(`${this.#options.url}/me-creds/api/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${await this.#accessToken()}` },
      body: JSON.stringify(events.map(({ id, type }) => ({ eventType: type, payload: { openId4VcIssuanceId: id }, idempotencyKey: `${id}:${type}` }))),
      signal: AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(20_000)]),
    })
    if (answer.status === 401) this.#token.until = 0
    if (answer.status !== 202) throw new Error(`status ${answer.status}: ${(await answer.text()).slice(0, 500)}`)
    await answer.body?.cancel()
  }

  async #accessToken() {
    if (Date.now() < this.#token.until) return this.#token.text
    const answer = await fetch(`${this.#options.url}/iam/realms/product-hub/protocol/openid-connect/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'client_credentials', client_id: this.#options.clientId, client_secret: this.#options.clientSecret }),
      signal: AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(20_000)]),
    })
    if (!answer.ok) throw new Error(`no access token: status ${answer.status}: ${(await answer.text()).slice(0, 500)}`)
    const { access_token, expires_in } = await answer.json()
    this.#token = { text: access_token, until: Date.now() + (expires_in - 30) * 1_000 }
    return access_token
  }
}
