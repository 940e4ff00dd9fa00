// A receiver's check of signatures, by the public library standardwebhooks.
import { Webhook } from 'standardwebhooks'

import { serve } from './lines.mjs'

await serve({
  /** Verifies a webhook as it arrived. */
  verify: ({ secret, headers, body }) => ({ body: new Webhook(secret).verify(body, headers) }),

  /** Signs a webhook. */
  sign: ({ secret, id, seconds, body }) => ({ signature: new Webhook(secret).sign(id, new Date(seconds * 1000), body) }),
})
