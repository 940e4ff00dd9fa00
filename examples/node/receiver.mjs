// A complete receiver of webhooks: it verifies them, has them on disk before it
// answers, drops duplicates, and processes the rest.
import express from 'express'
import { Webhook } from 'standardwebhooks'

import { Inbox } from './inbox.mjs'

if (!process.env.WEBHOOK_SECRET) {
  throw new Error('set WEBHOOK_SECRET to the secret of the endpoint, whsec_…')
}
const webhook = new Webhook(process.env.WEBHOOK_SECRET)
const inbox = new Inbox(process.env.INBOX ?? 'inbox.jsonl', work)
const app = express()

// express.raw, not express.json: the signature covers the bytes as they came.
app.post('/webhooks/credentials', express.raw({ type: '*/*', limit: '64kb' }), (req, res) => {
  let event
  try {
    event = webhook.verify(req.body, req.headers)
  } catch (error) {
    return res.status(400).send(error.message)
  }
  // A duplicate is kept already and answered the same. If the disk fails, this
  // throws, Express answers 500, and the sender sends it again.
  inbox.put({ id: req.headers['webhook-id'], test: req.headers['webhook-test'] === 'true', event })
  res.status(204).end()
})

// work does the work, one event after the other. After an error the event is
// worked on again at the next start, so make it such that it can be repeated.
// Where test is set, no issuance stands behind it, and nothing may be booked.
async function work({ id, test, event }) {
  console.log(`processed ${id} ${event.eventType} ${event.payload.openId4VcIssuanceId}`)
}

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', (error) => {
  if (error) throw error
  console.log(`listening on http://127.0.0.1:${server.address().port}/webhooks/credentials`)
  inbox.run()
})
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    server.close()
    server.closeAllConnections()
  })
}
