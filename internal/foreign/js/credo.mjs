// A wallet that is Credo's holder (@credo-ts/openid4vc). It claims one offer,
// step by step.
import 'reflect-metadata'
import { EventEmitter } from 'node:events'

import { Agent, Kms, StorageUpdateService, UpdateAssistant, X509Module } from '@credo-ts/core'
import { OpenId4VcModule } from '@credo-ts/openid4vc'

import { serve } from './lines.mjs'
import { memoryKeys, memoryStorage, NoFiles } from './memory.mjs'

const agent = new Agent({
  config: {},
  dependencies: { fetch, FileSystem: NoFiles, EventEmitterClass: EventEmitter, WebSocketClass: class {} },
  modules: { keyManagement: memoryKeys, storage: memoryStorage, openid4vc: new OpenId4VcModule(), x509: new X509Module() },
})
// Nothing in the storage is old.
await agent.dependencyManager.resolve(StorageUpdateService).setCurrentStorageVersion(agent.context, UpdateAssistant.frameworkStorageVersion)
await agent.initialize()
const { holder } = agent.modules.openid4vc

let offer, token, received

await serve({
  /** Fetches the offer behind a link, and the metadata of its issuer, whose anchor, at an address of its own or Tidings', is trusted from now on unless trust is false. */
  async resolve({ offerUri, trust = true, anchor }) {
    offer = await holder.resolveCredentialOffer(offerUri)
    const issuer = offer.metadata.credentialIssuer.credential_issuer
    if (trust) agent.x509.config.setTrustedCertificates([await (await fetch(anchor ?? `${issuer}/ca.pem`)).text()])
    return { issuer, configurations: Object.keys(offer.offeredCredentialConfigurations), version: offer.metadata.originalDraftVersion }
  },

  /** Exchanges the offer's code for an access token, with the transaction code where one was entered. */
  async redeem({ txCode }) {
    token = await holder.requestToken({ resolvedCredentialOffer: offer, txCode })
    return { accessToken: token.accessToken }
  },

  /** Gets the credential, which Credo verifies, for a key of its own. */
  async request() {
    let key
    const { credentials } = await holder.requestCredentials({
      resolvedCredentialOffer: offer,
      ...token,
      async credentialBindingResolver({ supportsJwk, proofTypes }) {
        if (!supportsJwk) throw new Error('the issuer binds to no bare keys')
        const [algorithm] = proofTypes.jwt.supportedSignatureAlgorithms
        const { publicJwk } = await agent.kms.createKeyForSignatureAlgorithm({ algorithm })
        key = Kms.PublicJwk.fromUnknown(publicJwk)
        return { method: 'jwk', keys: [key] }
      },
    })
    received = credentials[0]
    const { compact, prettyClaims, payload } = received.record.firstCredential
    return { notificationId: received.notificationId, text: compact.split('~')[0], claims: prettyClaims, boundTo: payload.cnf.jwk.x, created: key.toJson().x }
  },

  /** Tells the issuer what became of the credential. */
  async notify({ event }) {
    await holder.sendNotification({ metadata: offer.metadata, accessToken: token.accessToken, dpop: token.dpop, notificationId: received.notificationId, notificationEvent: event })
  },

  /** Keeps the credential and counts what is kept. */
  async keep() {
    await agent.sdJwtVc.store({ record: received.record })
    return { kept: (await agent.sdJwtVc.getAll()).length }
  },
})
await agent.shutdown()
