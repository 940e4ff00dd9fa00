// A wallet made of the public library @openid4vc/openid4vci. It holds one key
// and claims one offer, step by step.
import { clientAuthenticationDynamic } from '@openid4vc/oauth2'
import { Openid4vciClient } from '@openid4vc/openid4vci'

import { inspect, present } from './credential.mjs'
import { hash, publicJwk, random, signJwt } from './keys.mjs'
import { serve } from './lines.mjs'

const client = new Openid4vciClient({
  callbacks: { fetch, hash, generateRandom: random, signJwt, clientAuthentication: clientAuthenticationDynamic({ clientId: 'a-wallet' }) },
})

let offer, issuerMetadata, accessToken, proof, notificationId, credential

/** Asks for the credential with the present proof. */
async function retrieve() {
  const { credentialResponse } = await client.retrieveCredentials({
    issuerMetadata,
    accessToken,
    credentialConfigurationId: offer.credential_configuration_ids[0],
    proofs: { jwt: [proof] },
  })
  notificationId = credentialResponse.notification_id
  credential = credentialResponse.credentials[0].credential
  return { ...(await inspect(credential)), notificationId, text: credential }
}

await serve({
  /** Fetches the offer behind a link, and the metadata of its issuer. */
  async resolve({ offerUri }) {
    offer = await client.resolveCredentialOffer(offerUri)
    issuerMetadata = await client.resolveIssuerMetadata(offer.credential_issuer)
    return {
      issuer: offer.credential_issuer,
      version: issuerMetadata.originalDraftVersion,
      configurations: offer.credential_configuration_ids,
      understood: issuerMetadata.knownCredentialConfigurations[offer.credential_configuration_ids[0]],
      code: Object.values(offer.grants)[0]['pre-authorized_code'],
    }
  },

  /** Exchanges the offer's code for an access token, with the transaction code where one was entered. */
  async redeem({ txCode }) {
    const { accessTokenResponse } = await client.retrievePreAuthorizedCodeAccessTokenFromOffer({ credentialOffer: offer, issuerMetadata, txCode })
    accessToken = accessTokenResponse.access_token
    return { accessToken, type: accessTokenResponse.token_type, expiresIn: accessTokenResponse.expires_in }
  },

  /** Gets the credential, with a fresh nonce, and verifies it. */
  async request() {
    const { c_nonce: nonce } = await client.requestNonce({ issuerMetadata })
    const { jwt } = await client.createCredentialRequestJwtProof({
      issuerMetadata,
      credentialConfigurationId: offer.credential_configuration_ids[0],
      signer: { method: 'jwk', alg: 'ES256', publicJwk },
      clientId: 'a-wallet', // production wallets name themselves in the anonymous flow too
      issuedAt: new Date(),
      nonce,
    })
    proof = jwt
    return retrieve()
  },

  /** Sends the last request for the credential again, as it was. */
  replay: retrieve,

  /** Verifies the credential as it is now, with its status where it has one. */
  async verify() {
    await inspect(credential)
  },

  /** Tells the issuer what became of the credential. */
  async notify({ event }) {
    await client.sendNotification({ issuerMetadata, accessToken, notification: { notificationId, event } })
  },

  /** Shows one claim of the credential to a verifier. */
  present: ({ claim }) => present(credential, claim),
})
