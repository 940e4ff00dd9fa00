// An inbox in a file, for one process: a line for each event that has come, and
// one when it is done.
import { appendFileSync, closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync } from 'node:fs'
import { dirname } from 'node:path'

const retention = 7 * 24 * 3600 * 1000 // longer than a sender goes on trying

export class Inbox {
  #entries = new Map() // by webhook-id
  #waiting = [] // not done, in order of arrival
  #running = true // until run is called
  #work
  #file

  // Reads what an earlier run left, without what is old or was torn by a crash.
  constructor(path, work) {
    this.#work = work
    for (const line of existsSync(path) ? readFileSync(path, 'utf8').split('\n') : []) {
      let entry
      try {
        entry = JSON.parse(line)
      } catch {
        continue // empty, or torn: the machine went down or the disk was full, and the sender was not told that it has arrived
      }
      this.#entries.set(entry.id, { ...this.#entries.get(entry.id), ...entry })
    }
    for (const [id, entry] of this.#entries) {
      if (entry.done && entry.at < Date.now() - retention) this.#entries.delete(id)
      if (!entry.done) this.#waiting.push(entry)
    }
    this.#file = openSync(`${path}.new`, 'w', 0o600)
    this.#append(...this.#entries.values())
    renameSync(`${path}.new`, path)
    const folder = openSync(dirname(path), 'r') // what keeps the name
    fsyncSync(folder)
    closeSync(folder)
  }

  // Keeps an event, unless its id is there already. When it returns, the event
  // is on disk.
  put(entry) {
    if (this.#entries.has(entry.id)) return
    const kept = { ...entry, at: Date.now() }
    this.#append(kept)
    this.#entries.set(kept.id, kept)
    this.#waiting.push(kept)
    if (!this.#running) this.run()
  }

  // Works until there is nothing left to do.
  async run() {
    this.#running = true
    for (let entry; (entry = this.#waiting.shift()); ) {
      try {
        await this.#work(entry)
        this.#append({ id: entry.id, done: true })
      } catch (error) {
        console.error(`${entry.id} is not done, and taken up again at the next start:`, error)
      }
    }
    this.#running = false
  }

  // A line begins with its line feed, so that one that is torn spoils no other.
  #append(...entries) {
    appendFileSync(this.#file, entries.map((entry) => '\n' + JSON.stringify(entry)).join(''))
    fsyncSync(this.#file)
  }
}
