// An issuer made with Credo, with Tidings behind it: whoever issues registers
// endpoints at Tidings and gets a signed webhook of each offer that is made,
// accepted or runs out.
import 'reflect-metadata'
import { EventEmitter } from 'node:events'

import { Agent, Kms, StorageUpdateService, UpdateAssistant, X509Certificate, X509Module } from '@credo-ts/core'
import { OpenId4VcModule } from '@credo-ts/openid4vc'
import express from 'express'

import { storage } from './storage.mjs'
import { Tidings } from './tidings.mjs'

const { TIDINGS_URL: url, TIDINGS_CLIENT_ID: clientId, TIDINGS_CLIENT_SECRET: clientSecret, PUBLIC_URL: publicUrl, DATA: data = '.', PORT: port = '3001' } = process.env
if (!url || !clientId || !clientSecret || !publicUrl) {
  throw new Error('set TIDINGS_URL, TIDINGS_CLIENT_ID and TIDINGS_CLIENT_SECRET, and PUBLIC_URL to the https address at which wallets reach this program')
}

const vct = `${publicUrl}/types/library-card`
const app = express()
let certificate

const agent = new Agent({
  config: {},
  dependencies: { fetch, FileSystem: class {}, EventEmitterClass: EventEmitter, WebSocketClass: class {} },
  modules: {
    ...storage(`${data}/credo.json`),
    x509: new X509Module(),
    openid4vc: new OpenId4VcModule({
      app,
      issuer: { baseUrl: `${publicUrl}/oid4vci`, credentialRequestToCredentialMapper: credentials },
    }),
  },
})

/** Says what a wallet gets that has accepted an offer. */
function credentials({ issuanceSession, holderBinding }) {
  return {
    type: 'credentials',
    format: 'dc+sd-jwt',
    credentials: holderBinding.keys.map(({ jwk }) => ({
      payload: { vct, ...issuanceSession.issuanceMetadata },
      disclosureFrame: { _sd: Object.keys(issuanceSession.issuanceMetadata) },
      holder: { method: 'jwk', jwk },
      issuer: { method: 'x5c', x5c: [certificate] },
    })),
  }
}

/** Gives the issuer of this program and the certificate that it signs with, which are made at the first start. */
async function ourIssuer() {
  const [known] = await agent.openid4vc.issuer.getAllIssuers()
  const kept = known && (await agent.genericRecords.findById('certificate'))
  if (kept) {
    certificate = X509Certificate.fromEncodedCertificate(kept.content.certificate)
    certificate.keyId = kept.content.keyId
    return known
  }
  const key = await agent.kms.createKey({ type: { kty: 'EC', crv: 'P-256' } })
  certificate = await agent.x509.createCertificate({
    issuer: { commonName: 'Library' },
    authorityKey: Kms.PublicJwk.fromPublicJwk(key.publicJwk),
    validity: { notAfter: new Date(Date.now() + 365 * 24 * 3600_000) },
    extensions: { subjectAlternativeName: { name: [{ type: 'dns', value: new URL(publicUrl).hostname }] } },
  })
  certificate.keyId = key.keyId
  await agent.genericRecords.save({ id: 'certificate', content: { certificate: certificate.toString('base64'), keyId: key.keyId } })
  return known ?? agent.openid4vc.issuer.createIssuer({
    issuerId: 'library',
    accessTokenSignerKeyType: { kty: 'EC', crv: 'P-256' },
    credentialConfigurationsSupported: {
      'library-card': {
        format: 'dc+sd-jwt',
        vct,
        scope: 'library-card',
        cryptographic_binding_methods_supported: ['jwk'],
        credential_signing_alg_values_supported: ['ES256'],
        proof_types_supported: { jwt: { proof_signing_alg_values_supported: ['ES256'] } },
        credential_metadata: { display: [{ name: 'Library card' }] },
      },
    },
  })
}

// Nothing in a new storage is old.
await agent.dependencyManager.resolve(StorageUpdateService).setCurrentStorageVersion(agent.context, UpdateAssistant.frameworkStorageVersion)
await agent.initialize()
const { issuerId } = await ourIssuer()
const tidings = new Tidings(agent, { url, clientId, clientSecret, journal: `${data}/told.jsonl` })
await tidings.start()

// What follows is for your own programs, on this machine only: they say whom to
// offer what. The id is the openId4VcIssuanceId of the webhooks.
const own = express()
own.post('/offers', express.json(), async (req, res) => {
  const { claims, expiresIn } = req.body
  const { issuanceSession, credentialOffer } = await agent.openid4vc.issuer.createCredentialOffer({
    issuerId,
    credentialConfigurationIds: ['library-card'],
    preAuthorizedCodeFlowConfig: {},
    issuanceMetadata: claims,
    expirationInSeconds: expiresIn,
    version: 'v1',
  })
  res.status(201).json({ id: issuanceSession.id, offerUri: credentialOffer })
})
own.get('/certificate.pem', (_req, res) => res.type('application/x-pem-file').send(certificate.toString('pem')))

const servers = [app.listen(Number(port), '127.0.0.1', listening), own.listen(port === '0' ? 0 : Number(port) + 1, '127.0.0.1', listening)]
let waiting = servers.length
function listening(error) {
  if (error) throw error
  if (--waiting === 0) console.log(`wallets: http://127.0.0.1:${servers[0].address().port}, offers: http://127.0.0.1:${servers[1].address().port}/offers`)
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, async () => {
    for (const server of servers) {
      server.close()
      server.closeAllConnections()
    }
    await tidings.stop()
    await agent.shutdown()
  })
}
