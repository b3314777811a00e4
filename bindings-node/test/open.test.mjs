import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import {
  CancelledError,
  ConflictError,
  InvalidError,
  NotFoundError,
  TriuneError,
  Triune,
  UnsupportedError,
  version,
} from 'triune'
import { folder, open, upper } from './support.mjs'

test('errors have a class, a code and say what to do', async (t) => {
  const path = await folder(t)
  await assert.rejects(Triune.open('redis://localhost'), (error) => {
    assert.ok(error instanceof UnsupportedError && error instanceof TriuneError && error instanceof Error)
    assert.equal(error.code, 'UNSUPPORTED')
    assert.equal(error.name, 'UnsupportedError')
    assert.equal(error.retryable, false)
    assert.match(error.message, /lmdb:\/\/\//)
    assert.doesNotMatch(error.message, /^\{/)
    return true
  })
  await assert.rejects(Triune.open(path, { config: { routr: {} } }), (error) => {
    assert.ok(error instanceof InvalidError)
    assert.match(error.message, /did you mean `router`/)
    return true
  })
  await assert.rejects(Triune.open(path, { config: join(path, 'absent.toml') }), NotFoundError)
})

test('settings are taken in both forms, and from a file', async (t) => {
  const path = await folder(t)
  await writeFile(join(path, 'triune.toml'), 'discover = false\n[router]\nreference_model = "gpt-4oo"\n')
  await assert.rejects(Triune.open(join(path, 'a'), { config: join(path, 'triune.toml') }), InvalidError)
  for (const router of [{ referenceModel: 'gpt-4oo' }, { reference_model: 'gpt-4oo' }]) {
    await assert.rejects(Triune.open(join(path, 'b'), { config: { discover: false, router } }), InvalidError)
  }
  await assert.rejects(Triune.open(join(path, 'c'), { config: 'x.toml', models: ['smollm2-135m'] }), InvalidError)
})

test('the environment goes before settings in code', async (t) => {
  const path = await folder(t)
  const config = { discover: false, router: { referenceModel: 'gpt-4o' } }
  process.env.TRIUNE__ROUTER__REFERENCE_MODEL = 'gpt-4oo'
  t.after(() => delete process.env.TRIUNE__ROUTER__REFERENCE_MODEL)
  await assert.rejects(Triune.open(path, { config }), (error) => error instanceof InvalidError && /gpt-4oo/.test(error.message))
  delete process.env.TRIUNE__ROUTER__REFERENCE_MODEL
  await (await Triune.open(path, { config })).close()
})

test('a closed mind says so, and its folder opens again', async (t) => {
  const path = await folder(t)
  const options = { config: { discover: false }, models: [upper] }
  const mind = await Triune.open(path, options)
  await mind.close()
  await mind.close()
  await assert.rejects(mind.generate('a'), (error) => error instanceof CancelledError && /closed/.test(error.message))
  assert.throws(() => mind.registerModel(upper), CancelledError)
  assert.throws(() => mind.events(), CancelledError)
  const again = await Triune.open(path, options)
  assert.equal((await again.router.totals()).calls, 0)
  await again[Symbol.asyncDispose]()
})

test('an opening that is refused leaves nothing open', async (t) => {
  const path = await folder(t)
  const open = () => readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(path)
    } catch {
      return false
    }
  })
  for (const part of [
    { functions: [{ name: 'a b', run: () => null }] },
    { engines: [{ name: 'recall', call: () => null }] },
    { gates: [{ name: '', check: () => true }] },
  ]) {
    await assert.rejects(Triune.open(path, { config: { discover: false }, ...part }), TriuneError)
    assert.deepEqual(open(), [])
  }
})

test('engines of the program are engines', async (t) => {
  const mind = await open(t, {
    engines: [{ name: 'adder', call: async ({ a, b }) => ({ sum: a + b, snake_case: true }) }],
  })
  assert.deepEqual(await mind.call('adder', { a: 1, b: 2 }), { sum: 3, snake_case: true })
  assert.equal((await mind.health()).adder.ok, true)
  assert.throws(() => mind.registerEngine({ name: 'recall', call: () => null }), ConflictError)
  await assert.rejects(mind.call('ader', {}), (error) => error.code === 'NOT_FOUND' && /adder/.test(error.message))
  const thrown = new RangeError('too big')
  mind.registerEngine({ name: 'thrower', call: () => { throw thrown } })
  await assert.rejects(mind.call('thrower', {}), (error) => error === thrown)
})

test('gates of the program are asked', async (t) => {
  const mind = await open(t, { gates: [{ name: 'polite', check: ({ content }) => !content.includes('damn') }] })
  mind.registerGate({ name: 'short', check: async ({ content, kind, name }) => {
    assert.deepEqual([kind, name], ['text', 'note'])
    return { passed: content.length < 10, findings: content.length < 10 ? [] : [{ message: 'too long', line: 1 }] }
  } })
  const report = await mind.gate.check('well, damn it', { name: 'note', gates: ['polite', 'short'] })
  assert.deepEqual(report, {
    passed: false,
    verdicts: [
      { gate: 'polite', passed: false, findings: [] },
      { gate: 'short', passed: false, findings: [{ message: 'too long', line: 1 }] },
    ],
  })
  assert.equal((await mind.gate.check('fine', { name: 'note' })).passed, true)
})

test('the version is that of the package', async () => {
  const { default: manifest } = await import('triune/package.json', { with: { type: 'json' } })
  assert.equal(version, manifest.version)
})
