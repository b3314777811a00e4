import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { version } from 'triune'

const run = (...args) =>
  promisify(execFile)(process.execPath, [fileURLToPath(new URL('../bin/triune.mjs', import.meta.url)), ...args])

test('the command runs', async () => {
  assert.match((await run('--version')).stdout, new RegExp(`triune.* ${version.replaceAll('.', '\\.')}`))
  assert.match((await run('--help')).stdout, /models/)
  await assert.rejects(run('no-such-command'), ({ code, stderr }) => code > 0 && stderr.includes('no-such-command'))
})

test('a model is measured', { timeout: 120_000 }, async (t) => {
  await assert.rejects(run('bench-model', fileURLToPath(import.meta.url)), ({ code, stderr }) => code === 3 && /GGUF/.test(stderr))
  let lines
  try {
    lines = (await run('bench-model', 'smollm2-135m', '--tokens', '4', '--json')).stdout.trim().split('\n')
  } catch (error) {
    if (!error.stderr?.includes('triune models pull') || process.env.TRIUNE_MODELS || process.env.CI) throw error
    return t.skip('the model is not there; get it with `npx triune models pull smollm2-135m`')
  }
  const figures = new Map(lines.map((line) => JSON.parse(line)).map((figure) => [figure.figure, figure]))
  for (const name of ['load', 'first token', 'prefill', 'decode', 'decode of 8', 'decode of 32', 'weights', 'remembered'])
    assert.ok(figures.get(name)?.value > 0, name)
  assert.equal(figures.get('decode').unit, 'tokens/s')
  // The file has 94 MiB.
  assert.ok(figures.get('weights').value > 80 && figures.get('weights').value < 140)
})
