// With the real models, where the cache has them.
import assert from 'node:assert/strict'
import test from 'node:test'
import { folder } from './support.mjs'
import { longestDelay } from './load.test.mjs'
import { Triune } from 'triune'

const models = ['smollm2-135m']
const embedder = 'all-minilm-l6-v2'

async function real(t) {
  try {
    const mind = await Triune.open(await folder(t), { config: { discover: false }, models, embedder })
    t.after(() => mind.close())
    return mind
  } catch (error) {
    if (error.code !== 'NOT_FOUND' || process.env.TRIUNE_MODELS || process.env.CI) throw error
    t.skip('the models are not there; get them with `npx triune models pull smollm2-135m` and `... all-minilm-l6-v2`')
  }
}

test('a local model answers, streams and remembers', { timeout: 300_000 }, async (t) => {
  const mind = await real(t)
  if (!mind) return
  await mind.recall.storeMany([
    'Ada moved to Paris in 2024',
    'The canteen closes at three',
    'Our boiler was repaired by Mrs Kim',
  ])
  const [hit] = await mind.recall.query('In which city does Ada live?', { k: 1 })
  assert.match(hit.text, /Paris/)

  const options = { maxTokens: 24, seed: 1 }
  const measured = []
  for (let i = 0; i < 3; i++) measured.push(await longestDelay(() => mind.generate('Say hello to Ada.', options)))
  const delay = Math.min(...measured.map(([delay]) => delay))
  const [, reply] = measured[0]
  t.diagnostic(`${reply.usage.outputTokens} tokens in ${reply.latencyMs} ms: event loop held up for at most ${delay.toFixed(1)} ms`)
  assert.ok(delay < 10, `${delay} ms`)
  assert.ok(reply.text.length > 0)
  assert.equal(reply.costNanoUsd, 0)
  assert.ok(reply.savedNanoUsd > 0)

  const stream = mind.stream('Say hello to Ada.', options)
  let text = ''
  for await (const piece of stream) text += piece
  assert.equal(text, reply.text)
  assert.equal(stream.reply.text, reply.text)

  let pieces = 0
  for await (const _ of mind.stream('Write a long story.', { maxTokens: 400 })) if (++pieces === 3) break
  assert.equal(pieces, 3)
})

test('a local generation stops with its signal', { timeout: 300_000 }, async (t) => {
  const mind = await real(t)
  if (!mind) return
  await mind.generate('Hi', { maxTokens: 1 })
  const begun = performance.now()
  await assert.rejects(
    mind.generate('Write a very long story.', { maxTokens: 1500, signal: AbortSignal.timeout(200) }),
    { name: 'TimeoutError' },
  )
  assert.ok(performance.now() - begun < 5_000)
})

test('a local model keeps to a form', { timeout: 300_000 }, async (t) => {
  const mind = await real(t)
  if (!mind) return
  const schema = {
    type: 'object',
    properties: { firstName: { type: 'string', maxLength: 20 }, age: { type: 'integer', maximum: 120 } },
    required: ['firstName', 'age'],
    additionalProperties: false,
  }
  const responseFormat = { type: 'json_schema', name: 'person', schema }
  const reply = await mind.generate('Tell me about Ada.', { responseFormat, maxTokens: 90, seed: 1 })
  const person = JSON.parse(reply.text)
  assert.deepEqual(Object.keys(person), ['firstName', 'age'])
  assert.ok(Number.isInteger(person.age))
  const year = await mind.generate('Which year?', { responseFormat: { type: 'regex', pattern: '19[0-9]{2}' }, seed: 1 })
  assert.match(year.text, /^19[0-9]{2}$/)
  const grammar = { type: 'grammar', lark: 'start: "yes" | "no"' }
  assert.match((await mind.generate('Is it late?', { responseFormat: grammar, seed: 1 })).text, /^(yes|no)$/)
  // The template of this model knows no tools, so it is not asked for calls.
  const tools = [{ name: 'weather', description: 'The weather in a city.' }]
  await assert.rejects(mind.generate('Hello!', { tools, maxTokens: 8 }), { code: 'INVALID' })
})
