import assert from 'node:assert/strict'
import test from 'node:test'
import {
  ContextLengthError,
  InvalidError,
  NotFoundError,
  OverBudgetError,
  RateLimitedError,
  TimedOutError,
  UnsupportedError,
} from 'triune'
import { endless, model, open, upper } from './support.mjs'

const price = { inputUsd: 0.15, outputUsd: 0.6 }

test('a model may answer at once, later, as an object, or in pieces', async (t) => {
  const answers = {
    now: () => 'abc',
    later: async () => 'abc',
    object: async () => ({ text: 'abc', usage: { inputTokens: 7, outputTokens: 3 }, finishReason: 'length' }),
    list: () => ['a', { text: 'b' }, 'c'],
    generator: function* () {
      yield 'a'
      yield 'bc'
    },
    asyncGenerator: async function* () {
      for (const text of 'abc') {
        await new Promise(setImmediate)
        yield text
      }
      return { usage: { inputTokens: 7, outputTokens: 3 }, finishReason: 'length' }
    },
  }
  const mind = await open(t, { models: Object.entries(answers).map(([id, chat]) => model(id, chat)) })
  for (const id of Object.keys(answers)) {
    const reply = await mind.generate('hi', { model: id })
    assert.equal(reply.text, 'abc', id)
    assert.equal(reply.model, id)
    assert.equal(reply.attempts.length, 1)
    if (id === 'object' || id === 'asyncGenerator') {
      const { inputTokens, cachedTokens, outputTokens, tier } = reply.usage
      assert.deepEqual([inputTokens, cachedTokens, outputTokens, tier], [7, 0, 3, 'standard'], id)
      assert.equal(reply.finishReason, 'length')
    } else {
      assert.ok(reply.usage.inputTokens > 0 && reply.usage.outputTokens > 0, id)
    }
  }
})

test('a model sees the request in the form of JavaScript', async (t) => {
  const seen = []
  const schema = { type: 'object', properties: { max_tokens: { type: 'number' } } }
  const capabilities = { tools: true, jsonSchema: true }
  const keeper = model('keeper', (request) => {
    seen.push(request)
    return { toolCalls: [{ id: '1', name: 'look_up', arguments: { full_name: 'Ada' }, extraContent: { a_b: 1 } }] }
  }, { capabilities })
  const mind = await open(t, { models: [keeper] })
  const reply = await mind.generate([{ role: 'user', content: 'hi' }], {
    system: 'be kind',
    maxTokens: 5,
    topP: 0.5,
    stop: ['x'],
    tools: [{ name: 'look_up', parameters: schema }],
    responseFormat: { type: 'json_schema', name: 'answer', schema },
  })
  assert.deepEqual(seen[0].messages.map(({ role, content }) => [role, content]), [['system', 'be kind'], ['user', 'hi']])
  assert.equal(seen[0].sampling.maxTokens, 5)
  assert.equal(seen[0].sampling.topP, 0.5)
  assert.deepEqual(seen[0].tools[0].parameters, schema)
  assert.deepEqual(seen[0].responseFormat, { type: 'json_schema', name: 'answer', schema })
  const extraContent = { a_b: 1 }
  assert.deepEqual(reply.toolCalls, [{ id: '1', name: 'look_up', arguments: { full_name: 'Ada' }, extraContent }])
  assert.equal(reply.finishReason, 'tool_calls')
})

test('money is exact', async (t) => {
  const paid = model('paid', () => ({ text: 'ok', usage: { inputTokens: 1000, outputTokens: 10 } }), { price })
  const mind = await open(t, { models: [paid], config: { router: { referenceModel: 'gpt-4o' } } })
  const reply = await mind.generate('hi')
  assert.equal(reply.costNanoUsd, 1000 * 150 + 10 * 600)
  assert.equal(reply.costUsd, 0.000156)
  assert.equal(reply.savedNanoUsd, reply.referenceCostNanoUsd - reply.costNanoUsd)
  assert.ok(reply.savedUsd > 0)
  const [entry] = await mind.router.ledger()
  assert.equal(entry.id, reply.id)
  assert.equal(entry.costNanoUsd, reply.costNanoUsd)
  const totals = await mind.router.totals()
  assert.deepEqual([totals.calls, totals.inputTokens, totals.costNanoUsd], [1, 1000, 156_000])
  assert.deepEqual((await mind.router.models())[0].price, { inputUsd: 0.15, outputUsd: 0.6 })
  assert.equal((await mind.metrics()).models.paid.costNanoUsd, 156_000)
  await assert.rejects(mind.generate('hi', { budgetUsd: 0.000001 }), OverBudgetError)
  await assert.rejects(mind.generate('hi', { maxCostUsd: 0.000001 }))
})

test('tasks are named, budgets kept, and the past is replayed', async (t) => {
  const paid = model('paid', () => ({ text: 'ok', usage: { inputTokens: 1000, outputTokens: 10 } }), { price })
  const config = { router: { budgets: [{ tag: 'sum', period: 'day', limitUsd: 0.001, softUsd: 0.0005 }] } }
  const mind = await open(t, { models: [paid], config })
  await mind.generate('hi', { tag: 'sum', maxTokens: 10 })
  const [entry] = await mind.router.ledger({ tag: 'sum' })
  assert.equal(entry.tag, 'sum')
  assert.equal(entry.decision.candidates[0].model, 'paid')
  assert.deepEqual(await mind.router.ledger({ tag: 'other' }), [])
  const [budget] = await mind.router.budgets()
  assert.deepEqual([budget.limitUsd, budget.spentNanoUsd, budget.period], [0.001, 156_000, 'day'])
  await assert.rejects(mind.generate('hi', { tag: 'sum', maxTokens: 3000 }), OverBudgetError)
  assert.equal((await mind.router.totalsBy('tag')).sum.costNanoUsd, 156_000)
  const replay = await mind.router.replay({ always: 'gpt-4o' })
  assert.deepEqual([replay.calls, replay.replayedCostNanoUsd], [1, 1000 * 2500 + 10 * 10_000])
  assert.deepEqual(await mind.router.priceWarnings(), [])
  await assert.rejects(mind.generate('hi', { tag: '' }), /tag/)
})

test('what a model throws comes back as the same object', async (t) => {
  class Mine extends Error {}
  const thrown = [new Mine('boom'), 'a text', { an: 'object' }]
  for (const what of thrown) {
    const bad = model('bad', () => {
      throw what
    })
    const later = model('bad', async function* () {
      yield 'a'
      throw what
    })
    for (const chat of [bad, later]) {
      const mind = await open(t, { models: [chat], config: { router: { attempts: 1 } } })
      await assert.rejects(mind.generate('x'), (error) => error === what)
      await assert.rejects(mind.stream('x').collect(), (error) => error === what)
      await mind.close()
    }
  }
})

test('an error of triune keeps its code, so that the router goes on', async (t) => {
  let calls = 0
  const busy = model('busy', () => {
    calls += 1
    throw new RateLimitedError('slow down')
  }, { quality: 0.5 })
  const router = { attempts: 2, backoffMs: 1 }
  const mind = await open(t, { models: [busy], config: { router } })
  await assert.rejects(mind.generate('x'), RateLimitedError)
  assert.equal(calls, 2)
  mind.registerModel(model('spare', () => 'here', { price }))
  const reply = await mind.generate('x')
  assert.equal(reply.model, 'spare')
  assert.equal(reply.attempts.find(({ model }) => model === 'busy').code, 'RATE_LIMITED')
})

test('requests that a model cannot serve are refused before it is asked', async (t) => {
  const mind = await open(t, { models: [upper] })
  await assert.rejects(mind.generate('a', { temperature: 9 }), InvalidError)
  await assert.rejects(mind.generate('a', { model: 'upper', logprobs: 1 }), UnsupportedError)
  await assert.rejects(mind.generate('word '.repeat(10_000), { model: 'upper' }), (error) =>
    error instanceof ContextLengthError || error instanceof InvalidError)
})

test('an answer that is no answer is an error that says so', async (t) => {
  for (const answer of [42, null, undefined, { text: 5 }, { usage: 'many' }]) {
    const mind = await open(t, { models: [model('odd', () => answer)], config: { router: { attempts: 1 } } })
    if (answer === undefined) continue
    await assert.rejects(mind.generate('x'), (error) => error.code === 'HOST', String(answer))
  }
})

test('a signal stops the work', async (t) => {
  const slow = endless()
  const mind = await open(t, { models: [slow] })
  const controller = new AbortController()
  const call = mind.generate('x', { signal: controller.signal })
  await slow.begun
  const reason = new Error('enough')
  controller.abort(reason)
  await assert.rejects(call, (error) => error === reason)
  assert.equal((await slow.stopped).code, 'CANCELLED')
  await assert.rejects(mind.generate('x', { signal: AbortSignal.abort(reason) }), (error) => error === reason)
})

test('a deadline stops the work', async (t) => {
  const slow = endless()
  const mind = await open(t, { models: [slow] })
  await assert.rejects(mind.generate('x', { timeoutMs: 50 }), (error) => {
    assert.ok(error instanceof TimedOutError)
    assert.equal(error.retryable, true)
    return true
  })
  await slow.stopped
  await assert.rejects(mind.generate('x', { timeoutMs: -1 }), InvalidError)
})

test('closing stops the work', async (t) => {
  const slow = endless()
  const mind = await open(t, { models: [slow] })
  const call = assert.rejects(mind.generate('x'), (error) => error.code === 'CANCELLED')
  await slow.begun
  await mind.close()
  await Promise.all([call, slow.stopped])
})

test('a stream gives the pieces and then the reply', async (t) => {
  const mind = await open(t, { models: [model('abc', () => ['a', 'b', 'c'])] })
  const stream = mind.stream('x')
  const pieces = []
  for await (const piece of stream) pieces.push(piece)
  assert.equal(pieces.join(''), 'abc')
  assert.equal(stream.reply.text, 'abc')
  assert.deepEqual(await stream.next(), { done: true, value: undefined })
  assert.equal((await mind.stream('x').collect()).model, 'abc')
  let text = ''
  for await (const piece of mind.stream('x').toReadableStream()) text += piece
  assert.equal(text, 'abc')
})

/** Says 'a' for ever; tells how often, and when it was stopped. */
function counting() {
  const seen = { pieces: 0, returned: false, aborted: false }
  const chat = async function* (_, { signal }) {
    signal.addEventListener('abort', () => (seen.aborted = true), { once: true })
    try {
      for (;;) {
        seen.pieces += 1
        yield 'a'
        await new Promise(setImmediate)
      }
    } finally {
      seen.returned = true
    }
  }
  return [model('counting', chat), seen]
}

const until = async (condition) => {
  for (let i = 0; i < 2000 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 1))
  assert.ok(condition())
}

test('leaving a stream early stops the model', async (t) => {
  const [chat, seen] = counting()
  const mind = await open(t, { models: [chat] })
  let read = 0
  for await (const piece of mind.stream('x')) {
    read += piece.length
    if (read > 5) break
  }
  await until(() => seen.returned && seen.aborted)
  const { pieces } = seen
  await new Promise((resolve) => setTimeout(resolve, 30))
  assert.equal(seen.pieces, pieces, 'the model went on')

  const [second, again] = counting()
  mind.registerModel(second)
  const reader = mind.stream('x').toReadableStream().getReader()
  await reader.read()
  await reader.cancel()
  await until(() => again.returned)
})

test('a signal stops a stream', async (t) => {
  const [chat, seen] = counting()
  const mind = await open(t, { models: [chat] })
  const controller = new AbortController()
  const reason = new Error('enough')
  await assert.rejects(
    async () => {
      for await (const _ of mind.stream('x', { signal: controller.signal })) controller.abort(reason)
    },
    (error) => error === reason,
  )
  await until(() => seen.returned)
})

test('a stream that waits for a piece can be left', async (t) => {
  const slow = endless()
  const mind = await open(t, { models: [slow] })
  const stream = mind.stream('x')
  const waiting = stream.next()
  await slow.begun
  await stream.return()
  assert.equal((await waiting).done, true)
  await slow.stopped
})

test('log-probabilities of a model of the program are in the reply', async (t) => {
  const logprobs = [{ token: 'hi', logprob: -0.25, top: [['hi', -0.25], ['ho', -1.5]] }]
  const capable = { capabilities: { logprobs: true } }
  const whole = model('whole', () => ({ text: 'hi', logprobs }), capable)
  const pieces = model('pieces', function* () {
    yield { text: 'hi', logprobs }
  }, capable)
  const mind = await open(t, { models: [whole, pieces] })
  for (const id of ['whole', 'pieces']) {
    const reply = await mind.generate('x', { model: id, logprobs: 2 })
    assert.deepEqual([reply.text, reply.logprobs], ['hi', logprobs])
  }
})

test('images need a model', async (t) => {
  const mind = await open(t, { models: [upper] })
  await assert.rejects(mind.generateImage('a cat', { size: '512x512', count: 2 }), (error) => {
    assert.ok(error instanceof NotFoundError && error.message.includes('image_model'), error.message)
    return true
  })
  await assert.rejects(mind.generateImage('a cat', { count: 0 }), InvalidError)
})
