// What a Credo agent wants to be given: keys and records, here kept in memory.
import { createPublicKey, generateKeyPairSync, randomBytes, randomUUID, sign, verify } from 'node:crypto'

import { InjectionSymbols, JsonTransformer, Kms, RecordNotFoundError } from '@credo-ts/core'

const es256 = { dsaEncoding: 'ieee-p1363' }

/** Keys of P-256 that sign with ES256. */
class MemoryKeys {
  backend = 'memory'
  #pairs = new Map()

  isOperationSupported(_, { operation, type, algorithm }) {
    switch (operation) {
      case 'createKey':
        return type.kty === 'EC' && type.crv === 'P-256'
      case 'sign':
      case 'verify':
        return algorithm === 'ES256'
      default:
        return operation === 'randomBytes'
    }
  }

  async getPublicKey(_, keyId) {
    const pair = this.#pairs.get(keyId)
    return pair ? { ...pair.publicKey.export({ format: 'jwk' }), kid: keyId } : null
  }

  async createKey(context, { keyId = randomUUID() }) {
    this.#pairs.set(keyId, generateKeyPairSync('ec', { namedCurve: 'P-256' }))
    return { keyId, publicJwk: await this.getPublicKey(context, keyId) }
  }

  async sign(_, { keyId, data }) {
    const key = this.#pairs.get(keyId).privateKey
    return { signature: new Uint8Array(sign('sha256', data, { key, ...es256 })) }
  }

  async verify(context, { key, data, signature }) {
    const publicJwk = key.publicJwk ?? (await this.getPublicKey(context, key.keyId))
    const verified = verify('sha256', data, { key: createPublicKey({ key: publicJwk, format: 'jwk' }), ...es256 }, signature)
    return verified ? { verified, publicJwk } : { verified }
  }

  randomBytes(_, { length }) {
    return new Uint8Array(randomBytes(length))
  }
}

/** Records as text, by type and id. */
class MemoryRecords {
  supportsCursorPagination = false
  #texts = new Map()

  async save(_, record) {
    this.#texts.set(`${record.type} ${record.id}`, JsonTransformer.serialize(record))
  }

  update(context, record) {
    return this.save(context, record)
  }

  async delete(_, record) {
    this.#texts.delete(`${record.type} ${record.id}`)
  }

  async getById(_, Record, id) {
    const text = this.#texts.get(`${Record.type} ${id}`)
    if (!text) throw new RecordNotFoundError(`there is no ${id}`, { recordType: Record.type })
    return JsonTransformer.deserialize(text, Record)
  }

  async getAll(_, Record) {
    return [...this.#texts].filter(([name]) => name.startsWith(`${Record.type} `)).map(([, text]) => JsonTransformer.deserialize(text, Record))
  }

  /** All of a type: this agent never asks for fewer. */
  findByQuery(context, Record) {
    return this.getAll(context, Record)
  }
}

/** A module for the agent's storage. */
export const memoryStorage = {
  register: (dependencies) => dependencies.registerInstance(InjectionSymbols.StorageService, new MemoryRecords()),
}

/** A module for the agent's keys. */
export const memoryKeys = new Kms.KeyManagementModule({ backends: [new MemoryKeys()] })

/** The agent writes no files. */
export class NoFiles {
  dataPath = '/nowhere'
  cachePath = '/nowhere'
  tempPath = '/nowhere'
}
