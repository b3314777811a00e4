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
