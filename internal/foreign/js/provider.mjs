// A token issuer made of the public library oidc-provider, over TLS. Its clients
// are named <organisation>-<anything>; all have the same secret.
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'

import { serve } from './lines.mjs'

console.info = console.warn = console.error // the library's notices do not belong on standard output
const { default: Provider } = await import('oidc-provider')

const scope = 'publish read admin'
const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
}
const unready = (_, response) => response.writeHead(503).end()

let handle = unready
let issuer, clients, generation = 0, alg = 'RS256'

function makeKeys() {
  generation++
  return Object.entries(kinds).map(([alg, [kind, options]]) => ({
    ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }),
    alg,
    use: 'sig',
    kid: `${alg}-${generation}`,
  }))
}

/** Begins anew, with other keys. */
function begin() {
  const provider = new Provider(issuer, {
    jwks: { keys: makeKeys() },
    scopes: scope.split(' '),
    clients: clients.map(({ id, secret }) => ({
      client_id: id,
      client_secret: secret,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_post',
      scope,
    })),
    extraTokenClaims: (_, token) => ({ tidings: { organisation: token.clientId.split('-')[0] } }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, audience) => ({ scope, audience, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg } } }),
      },
    },
  })
  handle = provider.callback()
}

let server
await serve({
  /** Listens, but answers nothing yet. */
  listen: (parameters) =>
    new Promise((resolve) => {
      clients = parameters.clients
      server = createServer({ cert: readFileSync(parameters.cert), key: readFileSync(parameters.key) }, (request, response) => handle(request, response))
      server.listen(0, '127.0.0.1', () => {
        issuer = `https://127.0.0.1:${server.address().port}`
        resolve({ issuer })
      })
    }),

  /** Begins to work or, later, works with other keys only. */
  begin,

  /** Signs with another algorithm from now on. */
  sign: (parameters) => {
    alg = parameters.alg
  },
})
server?.close()
server?.closeAllConnections()
