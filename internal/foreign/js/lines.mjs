// Programs of this folder are steered over their standard input: one JSON object
// {"step", …} a line, each answered by one line, {"done": …} or {"refused": …}.
import { createInterface } from 'node:readline'

const answer = (object) => process.stdout.write(JSON.stringify(object) + '\n')

/** Carries out steps, by name, until standard input ends. */
export async function serve(steps) {
  answer({ done: {} }) // ready
  for await (const line of createInterface({ input: process.stdin })) {
    const { step, ...parameters } = JSON.parse(line)
    try {
      answer({ done: (await steps[step](parameters)) ?? {} })
    } catch (error) {
      answer({ refused: refusal(error) })
    }
  }
}

/** What an error says, with the issuer's status and error code where it holds them. */
function refusal(error) {
  const response = error.response?.response ?? error.response
  const body = error.errorResponse ?? error.response?.credentialErrorResponseResult?.data
  return {
    name: error.constructor.name,
    message: [error.message, error.cause?.message].filter(Boolean).join(': '),
    status: response?.status ?? 0,
    code: body?.error ?? '',
  }
}
