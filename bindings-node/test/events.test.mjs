import assert from 'node:assert/strict'
import test from 'node:test'
import { Task } from 'triune'
import { letters, open, upper } from './support.mjs'

test('events tell what happens, in the form of JavaScript', async (t) => {
  const mind = await open(t, { models: [upper], embedder: letters })
  const events = mind.events()
  await mind.recall.store('Ada', { namespace: 'people' })
  const report = await mind.parallel.run([new Task('one', () => 1)])
  await mind.generate('x', { tenant: 'acme' })
  const seen = []
  for await (const event of events) {
    seen.push(event)
    if (event.type === 'spent') break
  }
  const of = (type) => seen.find((event) => event.type === type)
  assert.equal(of('stored').namespace, 'people')
  assert.ok(of('stored').atMs > 1_700_000_000_000)
  assert.equal(of('task_finished').run, report.run)
  assert.equal(of('task_finished').outcome, 'succeeded')
  assert.equal(typeof of('task_finished').latencyMs, 'number')
  assert.equal(of('spent').tenant, 'acme')
  assert.equal(of('spent').costNanoUsd, 0)
  assert.equal(events.missed, 0)
  assert.equal((await events.next()).done, true, 'leaving the loop ends the stream')

  const metrics = await mind.metrics()
  assert.equal(metrics.events.task_finished, 1)
  assert.equal(metrics.models.upper.attempts, 1)
  assert.equal(metrics.tasks.succeeded, 1)
  assert.equal(metrics.taskLatency.count, 1)
  assert.ok(Object.values(await mind.health()).every(({ ok }) => typeof ok === 'boolean'))
})

test('listening ends with a signal, with close and with the mind', async (t) => {
  const mind = await open(t)
  const controller = new AbortController()
  const stopped = mind.events({ signal: controller.signal })
  const reason = new Error('enough')
  const waiting = assert.rejects(stopped.next(), (error) => error === reason)
  controller.abort(reason)
  await waiting
  const closed = mind.events()
  const next = closed.next()
  closed.close()
  assert.equal((await next).done, true)
  const ended = mind.events()
  const last = ended.next()
  await mind.close()
  assert.equal((await last).done, true)
})

test('a reader who falls behind loses the oldest events, and knows', async (t) => {
  const mind = await open(t, { embedder: letters })
  const events = mind.events()
  const items = Array.from({ length: 3000 }, (_, i) => ({ content: `item ${i}`, id: `i${i}` }))
  await mind.recall.storeMany(items)
  await mind.recall.storeMany(items)
  await mind.recall.query('last')
  const seen = []
  for await (const event of events) {
    seen.push(event)
    if (event.type === 'recalled') break
  }
  const { stored } = (await mind.metrics()).events
  const got = seen.filter((event) => event.type === 'stored').length
  // How many events a store makes is the engine's own; none may vanish without being counted.
  assert.equal(got + events.missed, stored)
})
