import assert from 'node:assert/strict'
import test from 'node:test'
import wire from '../dist/wire.js'

test('names change, what belongs to the user does not', () => {
  const own = {
    maxTokens: 1,
    bm25K1: 0.9,
    metadata: { camelCase: 1, snake_case: 2 },
    input: { costUsd: 1 },
    filter: { eq: ['camelCase', 'a_b'] },
    tools: [{ parameters: { maxTokens: 1 } }],
    budgets: [{ tenant: 'someTenant', limitUsd: 1.5, softUsd: 1 }],
    absent: undefined,
    vector: new Float32Array([1, 0]),
  }
  assert.deepEqual(wire.toWire(own), {
    max_tokens: 1,
    bm25_k1: 0.9,
    metadata: { camelCase: 1, snake_case: 2 },
    input: { costUsd: 1 },
    filter: { eq: ['camelCase', 'a_b'] },
    tools: [{ parameters: { maxTokens: 1 } }],
    budgets: [{ tenant: 'someTenant', limit_usd: 1.5, soft_usd: 1 }],
    vector: [1, 0],
  })
  const reply = {
    at_ms: 1,
    p50_ms: 2,
    events: { task_finished: 3 },
    models: { 'my_model': { input_tokens: 4 } },
    value: { snake_case: null },
    novelty: null,
  }
  assert.deepEqual(wire.fromWire(reply), {
    atMs: 1,
    p50Ms: 2,
    events: { task_finished: 3 },
    models: { my_model: { inputTokens: 4 } },
    value: { snake_case: null },
  })
})

test('money is exact on its way there and back', () => {
  const nano = [0, 1, 999, 150_000, 1_000_000_001, -5, 123_456_789_012_345]
  for (const cost of nano) {
    const own = wire.fromWire({ cost, max_cost: cost })
    assert.equal(own.costNanoUsd, cost)
    assert.deepEqual(wire.toWire(own), { cost, max_cost: cost })
  }
  assert.deepEqual(wire.toWire({ maxCostUsd: 0.01 }), { max_cost: 10_000_000 })
  assert.deepEqual(wire.toWire({ price: { inputUsd: 0.15, outputUsd: 0.6 } }), {
    price: { input: 150_000_000, output: 600_000_000 },
  })
  const price = {
    inputUsd: 1,
    cacheWrite1hUsd: 2,
    perImageUsd: 0.04,
    above: [{ tokens: 200_000, inputUsd: 2, cachedUsd: 0.2 }],
    batch: { inputUsd: 0.5 },
  }
  const wired = {
    input: 1e9,
    cache_write_1h: 2e9,
    per_image: 4e7,
    above: [{ tokens: 200_000, input: 2e9, cached: 2e8 }],
    batch: { input: 5e8 },
  }
  assert.deepEqual(wire.toWire({ price }), { price: wired })
  assert.deepEqual(wire.fromWire({ price: wired }), { price })
  assert.deepEqual(wire.fromWire({ limit: 1_500_000_000, held: 0 }), {
    limitUsd: 1.5,
    limitNanoUsd: 1_500_000_000,
    heldUsd: 0,
    heldNanoUsd: 0,
  })
})
