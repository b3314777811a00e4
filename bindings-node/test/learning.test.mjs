// What the router learns, keeps and explains.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { model, open } from './support.mjs'

const learning = { router: { learning: { enabled: true } } }
const judged = (prompt, quality) => ({
  prompt,
  tag: 'sums',
  outcomes: { my_model: { quality, costUsd: 0.001 }, dear: { quality: 1, costUsd: 0.1 } },
})

test('a reply is judged once', async (t) => {
  const mind = await open(t, { models: [model('my_model', () => 'seven')], config: learning })
  const reply = await mind.generate('3 + 4?', { tag: 'sums' })
  await mind.router.feedback(reply.id, 1)
  await assert.rejects(mind.router.feedback(reply.id, 0), { code: 'NOT_FOUND' })
  const next = await mind.generate('5 + 6?', { tag: 'sums' })
  assert.match(next.route.steps[0].reason, /from 1 labels/)
})

test('what is kept to learn from is shown and forgotten', async (t) => {
  const mind = await open(t, { models: [model('my_model', () => 'seven')], config: learning })
  const [first, second] = [await mind.generate('3 + 4?'), await mind.generate('4 + 3?')]
  assert.deepEqual(await mind.router.shadowed(), [])
  await assert.rejects(mind.router.feedback(first.id, 1, { shadowScore: 1 }), { code: 'INVALID' })
  await mind.router.feedback(first.id, 1)
  const forgotten = [await mind.router.forget(first.id), await mind.router.forget(), await mind.router.forget(second.id)]
  assert.deepEqual(forgotten, [1, 1, 0])
})

test('what was learned is evaluated on other prompts', async (t) => {
  const mind = await open(t, { models: [model('my_model', () => 'seven')], config: learning })
  const records = Array.from({ length: 20 }, (_, n) => judged(`${n} + ${n}?`, n % 2))
  assert.equal(await mind.router.train(records), 20)
  const found = await mind.router.evaluate([judged('99 + 1?', 0)], { retention: 0.9 })
  assert.equal(found.records, 1)
  assert.equal(found.bestModel, 'dear')
  assert.deepEqual(found.models, ['dear', 'my_model'])
  assert.ok(Math.abs(found.bestCostUsd - 0.1) < 1e-9 && found.pair.strong === 1)
  assert.deepEqual(Object.keys(found.tradeoffs[0]), ['lambda', 'quality', 'costUsd'])
  assert.equal((await mind.router.cascade({ minRetention: 0.9 })).labels, 0)
})

test('the same question is asked once and explained', async (t) => {
  let calls = 0
  const mind = await open(t, { models: [model('mine', () => `${++calls}`)] })
  const first = await mind.generate('3 + 4?', { temperature: 0 })
  const again = await mind.generate('3 + 4?', { temperature: 0 })
  assert.deepEqual([calls, first.cacheHit, again.cacheHit], [1, undefined, 'exact'])
  assert.match(await mind.router.explain(first.id), /"mine" answered/)
  assert.match(await mind.router.explain(again.id), /no model was asked/)
})
