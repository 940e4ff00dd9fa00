// What the public library @sd-jwt/sd-jwt-vc makes of a credential.
import { X509Certificate } from 'node:crypto'

import { decodeJwtHeader, fetchJwks, isJwkInSet, zJwkSet } from '@openid4vc/oauth2'
import { digest, ES256, generateSalt } from '@sd-jwt/crypto-nodejs'
import { SDJwtVcInstance } from '@sd-jwt/sd-jwt-vc'

import { es256, hash, publicJwk, thumbprint } from './keys.mjs'

/** The issuer's certificate in the header: the chain to the anchor that the issuer publishes must hold. */
async function leafOf(credential, issuer) {
  const { header } = decodeJwtHeader({ jwt: credential.split('~')[0] })
  const leaf = new X509Certificate(Buffer.from(header.x5c[0], 'base64'))
  const anchor = new X509Certificate(await (await fetch(`${issuer}/ca.pem`)).text())
  if (header.x5c.length !== 1) throw new Error('the header holds more than the leaf')
  if (!leaf.checkIssued(anchor) || !leaf.verify(anchor.publicKey)) throw new Error('the leaf is not from the anchor')
  if (leaf.verify(leaf.publicKey)) throw new Error('the leaf is self-signed')
  if (leaf.subjectAltName.split(', ').indexOf(`URI:${issuer}`) < 0) throw new Error(`the leaf is for ${leaf.subjectAltName}`)
  await published(leaf.publicKey.export({ format: 'jwk' }), issuer)
  return leaf
}

/** The key must also be among those that the issuer publishes for verifiers without certificates. */
async function published(jwk, issuer) {
  const { origin, pathname } = new URL(issuer)
  const metadata = await (await fetch(`${origin}/.well-known/jwt-vc-issuer${pathname}`)).json()
  if (metadata.issuer !== issuer) throw new Error(`the keys are those of ${metadata.issuer}`)
  const sets = [zJwkSet.parse(metadata.jwks), await fetchJwks(`${issuer}/jwks`, fetch)]
  for (const { keys } of sets) {
    if (!(await isJwkInSet({ jwk, jwks: keys, callbacks: { hash } }))) throw new Error('the key is not published')
  }
}

/** The library, with the key of a credential's leaf as the only one that it trusts. */
async function libraryFor(credential) {
  const [, body] = credential.split('.')
  const leaf = await leafOf(credential, JSON.parse(Buffer.from(body, 'base64url')).iss)
  return new SDJwtVcInstance({
    verifier: await ES256.getVerifier(leaf.publicKey.export({ format: 'jwk' })),
    kbSigner: es256,
    kbSignAlg: 'ES256',
    kbVerifier: async (data, signature, payload) => (await ES256.getVerifier(payload.cnf.jwk))(data, signature),
    hasher: digest,
    hashAlg: 'sha-256',
    saltGenerator: generateSalt,
    loadTypeMetadataFormat: true, // fetched from the vct and checked against the library's schema
  })
}

/** Verifies a credential and tells what it says. */
export async function inspect(credential) {
  const library = await libraryFor(credential)
  const { payload, header, typeMetadata } = await library.verify(credential)
  const { iss, vct, iat, cnf, status, ...claims } = payload
  return {
    typ: header.typ,
    issuer: iss,
    vct,
    iat,
    claims,
    withholdable: await library.presentableKeys(credential),
    boundTo: await thumbprint(cnf.jwk),
    holder: await thumbprint(publicJwk),
    type: typeMetadata.mergedTypeMetadata.vct,
    typeClaims: typeMetadata.mergedTypeMetadata.claims.map((c) => c.path[0]),
  }
}

/** Presents a credential with one claim that could be withheld, bound to a verifier's nonce, and verifies that. */
export async function present(credential, claim) {
  const library = await libraryFor(credential)
  const kb = { payload: { iat: Math.floor(Date.now() / 1000), aud: 'a-verifier', nonce: 'a-nonce' } }
  const presentation = await library.present(credential, { [claim]: true }, { kb })
  const { payload } = await library.verify(presentation, { keyBindingNonce: 'a-nonce' })
  const { iss, vct, iat, cnf, status, ...claims } = payload
  return { claims }
}
