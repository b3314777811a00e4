import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { NotFoundError, RunReport, Task, Triune, UnavailableError } from 'triune'
import { endless, folder, model, open, upper } from './support.mjs'

test('functions are bodies of tasks, sync and async', async (t) => {
  const mind = await open(t, { models: [upper] })
  const seen = []
  const report = await mind.parallel.run([
    new Task('fetch', async (call) => (seen.push(call), { rows_read: call.input.rowLimit }), { input: { rowLimit: 3 } }),
    new Task('double', ({ results }) => results.fetch.rows_read * 2, { after: ['fetch'] }),
    new Task('nothing', () => {}),
    Task.value('constant', { a_b: 1 }),
    Task.prompt('say', 'say {{ results.double }}', { after: ['double'], maxTokens: 10 }),
    Task.engine('names', 'recall', { do: 'namespaces' }),
  ])
  assert.ok(report instanceof RunReport)
  assert.equal(report.state, 'succeeded')
  assert.deepEqual(report.tasks.map(({ task }) => task), ['fetch', 'double', 'nothing', 'constant', 'say', 'names'])
  assert.deepEqual(report.results, {
    fetch: { rows_read: 3 },
    double: 6,
    nothing: null,
    constant: { a_b: 1 },
    say: 'SAY 6',
    names: { namespaces: [] },
  })
  assert.deepEqual(seen, [{ run: report.run, task: 'fetch', attempt: 1, input: { rowLimit: 3 }, results: {} }])
  assert.deepEqual((await mind.parallel.get(report.run)).results, report.results)
  assert.deepEqual(await mind.parallel.unfinished(), [])
})

test('tasks that fail are in the report, and are tried again', async (t) => {
  const mind = await open(t, { config: { parallel: { backoffMs: 1 } } })
  let attempts = 0
  const report = await mind.parallel.run([
    new Task('flaky', ({ attempt }) => {
      attempts = attempt
      if (attempt < 3) throw new UnavailableError('not yet')
      return 'ok'
    }, { retries: 3 }),
    new Task('broken', () => {
      throw new Error('boom')
    }),
    new Task('behind', () => 1, { after: ['broken'] }),
  ])
  assert.equal(report.state, 'failed')
  assert.equal(attempts, 3)
  assert.equal(report.task('flaky').attempts, 3)
  assert.equal(report.task('broken').code, 'HOST')
  assert.match(report.task('broken').error, /boom/)
  assert.equal(report.task('behind').outcome, 'skipped')
})

test('runs at once may have tasks of one name and different bodies', async (t) => {
  const mind = await open(t)
  const runs = Array.from({ length: 20 }, (_, i) =>
    mind.parallel.run([
      new Task('same', async () => {
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 5))
        return i
      }),
    ]),
  )
  assert.deepEqual((await Promise.all(runs)).map((report) => report.results.same), runs.map((_, i) => i))
})

test('bodies are let go at the end of their run, and never take the place of a registered function', async (t) => {
  const mind = await open(t)
  mind.registerFunction('named', () => 'registered')
  const report = await mind.parallel.run([new Task('named', () => 'of the plan'), new Task('own', () => 'own')])
  assert.deepEqual(report.results, { named: 'of the plan', own: 'own' })
  const again = await mind.parallel.run([Task.function('a', 'named'), Task.function('b', 'own')])
  assert.equal(again.results.a, 'registered')
  assert.equal(again.task('b').code, 'NOT_FOUND')
})

test('a signal stops a run and its functions', async (t) => {
  const mind = await open(t)
  const controller = new AbortController()
  let begin, end
  const begun = new Promise((resolve) => (begin = resolve))
  const ended = new Promise((resolve) => (end = resolve))
  const slow = (_, { signal }) => {
    signal.addEventListener('abort', () => end(signal.reason.code), { once: true })
    begin()
    return new Promise(() => {})
  }
  const run = mind.parallel.run([new Task('slow', slow)], { signal: controller.signal })
  await begun
  controller.abort(new Error('enough'))
  await assert.rejects(run, /enough/)
  assert.equal(await ended, 'CANCELLED')
})

/** A model that costs a dollar for each token it writes. */
const paid = () =>
  model('paid', () => ({ text: 'x', usage: { inputTokens: 1, outputTokens: 1 } }), { price: { outputUsd: 1_000_000 } })

test('what the body of a task asks of models is a part of the run: its budget, its tenant, its end', async (t) => {
  const slow = endless()
  const mind = await open(t, { models: [paid(), slow] })
  const spend = new Task('spend', async () => {
    await mind.generate('x', { model: 'paid', maxTokens: 1, budgetUsd: 1_000 })
    await mind.generate('x', { model: 'paid', maxTokens: 1 })
    return 'overspent'
  })
  const report = await mind.parallel.run([spend], { budgetUsd: 1.5, tenant: 'ada' })
  assert.deepEqual([report.task('spend').outcome, report.task('spend').code], ['failed', 'OVER_BUDGET'])
  assert.equal((await mind.router.totals({ tenant: 'ada' })).costUsd, 1)
  assert.equal((await mind.router.totals()).costUsd, 1)

  const controller = new AbortController()
  let inner
  const asks = new Task('asks', () => (inner = mind.generate('x', { model: 'endless' })))
  const run = mind.parallel.run([asks], { signal: controller.signal })
  await slow.begun
  controller.abort(new Error('enough'))
  await assert.rejects(run, /enough/)
  await assert.rejects(inner, (error) => error.code === 'CANCELLED')
  assert.equal((await slow.stopped).code, 'CANCELLED')
})

test('what the body of a task stores is kept with its result, or not at all', async (t) => {
  const mind = await open(t)
  const report = await mind.parallel.run([
    new Task('good', async () => {
      const id = await mind.recall.store('kept', { id: 'kept' })
      return (await mind.recall.get(id)) ?? 'not yet there'
    }),
    new Task('bad', async () => {
      await mind.recall.store('lost', { id: 'lost' })
      throw new Error('after it')
    }),
  ])
  assert.deepEqual([report.results, report.task('bad').outcome], [{ good: 'not yet there' }, 'failed'])
  assert.equal((await mind.recall.get('kept')).text, 'kept')
  assert.equal(await mind.recall.get('lost'), undefined)
})

test('another mind, and what a body left behind, are no part of the run', async (t) => {
  const [mind, other] = [await open(t, { models: [paid()] }), await open(t, { models: [paid()] })]
  let later
  const body = async () => {
    await other.generate('x', { maxTokens: 1 })
    later = new Promise((resolve) => setTimeout(resolve, 20)).then(() => mind.generate('x', { maxTokens: 1 })).catch((error) => error)
    return 'ok'
  }
  const report = await mind.parallel.run([new Task('a', body)], { budgetUsd: 0.5 })
  assert.deepEqual(report.results, { a: 'ok' })
  assert.equal((await later).code, 'CANCELLED', 'what is left running spends nothing')
  assert.equal((await mind.generate('x', { maxTokens: 1 })).costUsd, 1)
})

test('plans are checked', async (t) => {
  const mind = await open(t)
  const [a, b] = [new Task('a', () => 1, { after: ['b'] }), new Task('b', () => 1)]
  assert.deepEqual(await mind.parallel.validate([a, b]), ['b', 'a'])
  await assert.rejects(mind.parallel.validate([a]), (error) => error.code === 'INVALID')
  await assert.rejects(mind.parallel.run([a]), (error) => error.code === 'INVALID')
  await assert.rejects(mind.parallel.get('absent'), NotFoundError)
})

test('a run that was killed goes on in a new process', async (t) => {
  const path = await folder(t)
  const log = join(path, 'log.txt')
  const script = fileURLToPath(new URL('killed.mjs', import.meta.url))
  const child = spawn(process.execPath, [script, join(path, 'mind'), log], { stdio: 'inherit' })
  const [, signal] = await once(child, 'exit')
  assert.equal(signal, 'SIGKILL')

  const config = { discover: false, parallel: { lease_ms: 300 } }
  const mind = await Triune.open(join(path, 'mind'), { config })
  t.after(() => mind.close())
  const [run] = await mind.parallel.unfinished()
  assert.equal(run, 'report-2026')
  mind.registerFunction('first', () => assert.fail('a finished task must not run again'))
  mind.registerFunction('second', ({ results, attempt }) => {
    assert.ok(attempt >= 1)
    return `${results.first}, then second`
  })
  // The dead process may hold its lease for a moment.
  let report
  for (let i = 0; i < 100 && !report; i++) {
    report = await mind.parallel.resume(run).catch(async (error) => {
      if (error.code !== 'CONFLICT') throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    })
  }
  assert.equal(report.state, 'succeeded')
  assert.equal(report.results.second, 'first was done, then second')
  assert.equal(report.task('first').restored, true)
  assert.equal(await readFile(log, 'utf8'), 'first\nsecond\n')
})
