// What the tests share: folders that go away, and parts whose answers are known.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Triune } from 'triune'

/** A folder that is removed when test `t` ends. */
export async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), 'triune-node-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

/** An open mind, without the models of this machine, that is closed when test `t` ends. */
export async function open(t, { config, ...options } = {}) {
  const mind = await Triune.open(await folder(t), { config: { discover: false, ...config }, ...options })
  // Neither a listener nor what tells a function that its call has ended keeps a process alive, and some tests wait for
  // just that.
  const alive = setInterval(() => {}, 1000)
  t.after(() => {
    clearInterval(alive)
    return mind.close()
  })
  return mind
}

/** A chat model that answers what `chat` does. */
export const model = (id, chat, profile = {}) => ({ profile: { id, contextLength: 4096, ...profile }, chat })

export const upper = model('upper', ({ messages }) => messages.at(-1).content.toUpperCase())

/** Counts letters: texts with the same letters are near. */
export const letters = {
  profile: { id: 'letters', dimensions: 26, maxTokens: 512 },
  embed: async (texts) =>
    texts.map((text) => {
      const vector = new Float32Array(26).fill(0.01)
      for (const letter of text.toLowerCase()) {
        const i = letter.charCodeAt(0) - 97
        if (i >= 0 && i < 26) vector[i] += 1
      }
      return vector
    }),
}

/** Never answers; tells by `stopped` when its work is no longer wanted. */
export function endless(id = 'endless') {
  let tell
  const stopped = new Promise((resolve) => (tell = resolve))
  let begin
  const begun = new Promise((resolve) => (begin = resolve))
  const chat = (_, { signal }) =>
    new Promise((_, reject) => {
      begin()
      signal.addEventListener('abort', () => (tell(signal.reason), reject(signal.reason)), { once: true })
    })
  return { ...model(id, chat), stopped, begun }
}
