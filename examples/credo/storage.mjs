// What a Credo agent wants to be given, in one file: its keys and its records.
// It is made for this example, small and for one process. An agent of yours has
// Askar or Drizzle here, and tidings.mjs works with those as well.
import { createPublicKey, generateKeyPairSync, randomBytes, randomUUID, sign, verify } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'

import { InjectionSymbols, JsonTransformer, Kms, RecordDuplicateError, RecordNotFoundError } from '@credo-ts/core'

const es256 = { dsaEncoding: 'ieee-p1363' }

/** An object on disk. What save has written outlives a crash. */
class File {
  constructor(path) {
    this.path = path
    const { keys, records } = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : { keys: {}, records: {} }
    Object.assign(this, { keys, records }) // private keys as JWK; texts of records, by type and id
  }

  save() {
    const file = openSync(`${this.path}.new`, 'w', 0o600)
    writeSync(file, JSON.stringify({ keys: this.keys, records: this.records }))
    fsyncSync(file)
    closeSync(file)
    renameSync(`${this.path}.new`, this.path)
  }
}

/** Keys of P-256 that sign with ES256. */
class FileKeys {
  backend = 'file'
  #file

  constructor(file) {
    this.#file = file
  }

  isOperationSupported(_, { operation, type, algorithm }) {
    if (operation === 'createKey') return type.kty === 'EC' && type.crv === 'P-256'
    if (operation === 'sign' || operation === 'verify') return algorithm === 'ES256'
    return operation === 'randomBytes'
  }

  async getPublicKey(_, keyId) {
    const jwk = this.#file.keys[keyId]
    return jwk ? { kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y, kid: keyId } : null
  }

  async createKey(context, { keyId = randomUUID() }) {
    this.#file.keys[keyId] = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
    this.#file.save()
    return { keyId, publicJwk: await this.getPublicKey(context, keyId) }
  }

  async sign(_, { keyId, data }) {
    return { signature: new Uint8Array(sign('sha256', data, { key: this.#file.keys[keyId], format: 'jwk', ...es256 })) }
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

/** Records as text. A query names tags, or alternatives in $or. */
class FileRecords {
  supportsCursorPagination = false
  #file

  constructor(file) {
    this.#file = file
  }

  async save(_, record) {
    if (this.#file.records[`${record.type} ${record.id}`]) throw new RecordDuplicateError(`${record.id} is there already`, { recordType: record.type })
    this.#write(record)
  }

  async update(_, record) {
    this.#write(record)
  }

  #write(record) {
    record.updatedAt = new Date()
    this.#file.records[`${record.type} ${record.id}`] = JsonTransformer.serialize(record)
    this.#file.save()
  }

  async delete(_, record) {
    delete this.#file.records[`${record.type} ${record.id}`]
    this.#file.save()
  }

  async getById(_, Record, id) {
    const text = this.#file.records[`${Record.type} ${id}`]
    if (!text) throw new RecordNotFoundError(`there is no ${id}`, { recordType: Record.type })
    return JsonTransformer.deserialize(text, Record)
  }

  async getAll(_, Record) {
    return Object.entries(this.#file.records).filter(([name]) => name.startsWith(`${Record.type} `)).map(([, text]) => JsonTransformer.deserialize(text, Record))
  }

  async findByQuery(context, Record, query) {
    return (await this.getAll(context, Record)).filter((record) => matches(record.getTags(), query))
  }
}

function matches(tags, { $or, ...wanted }) {
  const named = Object.entries(wanted).every(([name, value]) => value === undefined || tags[name] === value)
  return named && (!$or || $or.some((query) => matches(tags, query)))
}

/** The modules of an agent whose keys and records are in a file. */
export function storage(path) {
  const file = new File(path)
  return {
    keyManagement: new Kms.KeyManagementModule({ backends: [new FileKeys(file)] }),
    storage: { register: (dependencies) => dependencies.registerInstance(InjectionSymbols.StorageService, new FileRecords(file)) },
  }
}
