// Runs the receiver of mission/express.js: supplies the app that it wants, and
// serves that over TLS. Its arguments are the PEM files of certificate and key.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'

import express from 'express'

globalThis.app = express()
app.use(express.json())
await import('../mission/express.js')

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file))
const server = createServer({ cert, key }, app)
server.listen(0, '127.0.0.1', () => console.log(`listening on https://127.0.0.1:${server.address().port}/webhooks/credentials`))

process.stdin.resume().on('end', () => {
  server.close()
  server.closeAllConnections()
})
