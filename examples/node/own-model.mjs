// A model and an embedder of your own, beside those of triune: the router takes the cheapest that is good enough, goes
// on to the next where one fails, and each call is in the ledger. Nothing is downloaded.
//
//   npm run own-model
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Triune, UnavailableError } from 'triune'

/** Answers sums, and nothing else: exact, free, and in this process. */
const calculator = {
  profile: { id: 'calculator', contextLength: 1000, quality: 0.5 },
  chat({ messages }) {
    const sum = /^(\d+) \+ (\d+)$/.exec(messages.at(-1).content)
    // The code tells the router to go on with the next model.
    if (!sum) throw new UnavailableError('the calculator only adds', { retryable: false })
    return String(Number(sum[1]) + Number(sum[2]))
  },
}

/** Turns the words of a question around, piece by piece. Stands for a server of yours that is paid by the token. */
const mirror = {
  profile: { id: 'mirror', contextLength: 1000, quality: 0.6, price: { inputUsd: 0.1, outputUsd: 0.4 } },
  async *chat({ messages }, { signal }) {
    const words = messages.at(-1).content.split(' ').reverse()
    for (const word of words) {
      signal.throwIfAborted()
      yield `${word} `
    }
    return { usage: { inputTokens: words.length, outputTokens: words.length } }
  },
}

/** Texts with the same letters are near. */
const letters = {
  profile: { id: 'letters', dimensions: 26, maxTokens: 1000 },
  embed: (texts) =>
    texts.map((text) => {
      const vector = new Float32Array(26).fill(0.01)
      for (const letter of text.toLowerCase().replaceAll(/[^a-z]/g, '')) vector[letter.charCodeAt(0) - 97] += 1
      return vector
    }),
}

const folder = await mkdtemp(join(tmpdir(), 'triune-own-model-'))
const mind = await Triune.open(folder, { config: { discover: false }, models: [calculator, mirror], embedder: letters })

for (const prompt of ['2 + 40', 'backwards things say']) {
  const reply = await mind.generate(prompt)
  console.log(`${prompt} -> ${reply.text.trim()} (${reply.model}, cost $${reply.costUsd}, saved $${reply.savedUsd})`)
}
await mind.recall.storeMany(['listen to the band', 'a red car'])
const [hit] = await mind.recall.query('silent', { k: 1 })
console.log(`nearest to "silent" by letters: ${hit.text} (cosine ${hit.why.meaning.toFixed(2)})`)

const { calls, costUsd } = await mind.router.totals()
console.log(`ledger: ${calls} calls, $${costUsd}`)
await mind.close()
await rm(folder, { recursive: true })
