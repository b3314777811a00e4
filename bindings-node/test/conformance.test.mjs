// Runs tests/conformance/*.json: the cases that Rust, Python and Node must answer alike.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import * as triune from 'triune'
import wire from '../dist/wire.js'
import { folder } from './support.mjs'

const cases = fileURLToPath(new URL('../../tests/conformance', import.meta.url))
const classes = new Map(Object.values(triune).flatMap((value) => (value?.code ? [[value.code, value]] : [])))

function scripted({ profile, text, input_tokens: inputTokens, output_tokens: outputTokens, error }) {
  const chat = async () => {
    if (error) throw new (classes.get(error))('as the case says')
    return { text, usage: { inputTokens, outputTokens } }
  }
  return { profile: wire.fromWire(profile), chat }
}

/** Asserts that `found` has all that `expected` asks for. */
function compare(expected, found, at) {
  if (expected?.$any === true) return assert.notEqual(found, undefined, `${at} is absent`)
  if (typeof expected === 'number' && typeof found === 'number') {
    return assert.ok(Math.abs(expected - found) <= 1e-6, `${at} is ${found}, not ${expected}`)
  }
  if (Array.isArray(expected)) {
    assert.equal(found?.length, expected.length, `${at} has another length: ${JSON.stringify(found)}`)
    return expected.forEach((value, i) => compare(value, found[i], `${at}[${i}]`))
  }
  if (typeof expected === 'object' && expected !== null) {
    for (const [key, value] of Object.entries(expected)) {
      assert.ok(found !== null && typeof found === 'object' && key in found, `${at}.${key} is absent`)
      compare(value, found[key], `${at}.${key}`)
    }
    return
  }
  assert.deepEqual(found, expected, at)
}

const fails = (promise, { code, message }) =>
  assert.rejects(promise, (error) => {
    assert.equal(error.code, code, `${error}`)
    assert.ok(error.message.includes(message), `"${error.message}" does not say "${message}"`)
    return true
  })

async function runCase(t, { url, config, models = [], steps, open_error }) {
  const path = join(await folder(t), 'mind')
  const opening = triune.Triune.open(url ?? path, { config, models: models.map(scripted) })
  if (open_error) return fails(opening, open_error)
  const mind = await opening
  t.after(() => mind.close())
  for (const [i, { engine, request, expect, error }] of steps.entries()) {
    if (error) await fails(mind.call(engine, request), error)
    else compare(expect, await mind.call(engine, request), `reply ${i}`)
  }
}

const files = readdirSync(cases).filter((file) => file.endsWith('.json'))
assert.ok(files.length > 0, `there are no cases in ${cases}`)
let count = 0
for (const file of files) {
  const { cases: all } = JSON.parse(readFileSync(join(cases, file), 'utf8'))
  assert.ok(all?.length > 0, `${file} has no cases`)
  count += all.length
  for (const one of all) test(`${file}: ${one.name}`, (t) => runCase(t, one))
}
test('there are at least 40 cases', () => assert.ok(count >= 40))
