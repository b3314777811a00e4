// Routers written in JavaScript.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { open } from './support.mjs'

const says = (id, local = true) => ({ profile: { id, contextLength: 1000, local }, chat: () => id })

test('a function chooses the models', async (t) => {
  const mind = await open(t, { models: [says('a'), says('b'), says('far', false)] })
  const asked = []
  mind.setRouter((request, models) => {
    asked.push({ request, models: models.map((model) => model.profile.id) })
    return ['b', { model: 'a', reason: 'second best' }]
  })
  const reply = await mind.generate('hello', { localOnly: true })
  assert.equal(reply.text, 'b')
  assert.deepEqual(reply.route.steps.map((step) => step.reason), ['chosen by the program', 'second best'])
  assert.equal(asked[0].request.needs.localOnly, true)
  assert.deepEqual(asked[0].models.sort(), ['a', 'b'])
})

test('what it may not choose is refused, and its errors are the callers', async (t) => {
  const mind = await open(t, { models: [says('a'), says('far', false)] })
  mind.setRouter(async () => ['far'])
  await assert.rejects(mind.generate('hello', { localOnly: true }), { code: 'INVALID', message: /far/ })
  const mine = new Error('no')
  mind.setRouter(() => {
    throw mine
  })
  await assert.rejects(mind.generate('hello'), (thrown) => thrown === mine)
})

test('settings are replaced while the mind is open', async (t) => {
  const mind = await open(t, { models: [says('a')] })
  await mind.reload({ discover: false, router: { budgets: [{ period: 'total', limitUsd: 0.5 }] } })
  assert.equal((await mind.router.budgets()).length, 1)
  assert.equal((await mind.generate('hello')).text, 'a')
  await assert.rejects(mind.reload({ discover: false, team: { agents: 3 } }), { code: 'INVALID' })
})
