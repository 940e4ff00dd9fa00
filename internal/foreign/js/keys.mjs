// The holder's key and the primitives that the libraries want to be given.
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'

import { calculateJwkThumbprint, HashAlgorithm } from '@openid4vc/oauth2'

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })

export const publicJwk = pair.publicKey.export({ format: 'jwk' })

export const hash = (data, algorithm) => createHash(algorithm.replace('-', '')).update(data).digest()

export const random = (length) => randomBytes(length)

/** ES256 (RFC 7518, section 3.4). */
export const es256 = (text) => sign('sha256', Buffer.from(text), { key: pair.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')

const encode = (object) => Buffer.from(JSON.stringify(object)).toString('base64url')

export function signJwt(_signer, { header, payload }) {
  const text = `${encode(header)}.${encode(payload)}`
  return { jwt: `${text}.${es256(text)}`, signerJwk: publicJwk }
}

/** RFC 7638. */
export const thumbprint = (jwk) => calculateJwkThumbprint({ jwk, hashAlgorithm: HashAlgorithm.Sha256, hashCallback: hash })
