import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, cp, mkdir, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as imported from 'triune'
import { folder } from './support.mjs'

const run = promisify(execFile)
const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const node = (code, ...args) =>
  run(process.execPath, ['--input-type=module', '--eval', code, ...args], { cwd: root, timeout: 20_000 })

test('require and import give the same classes', () => {
  const required = createRequire(import.meta.url)('triune')
  assert.deepEqual(Object.keys(imported).sort(), Object.keys(required).sort())
  for (const name of Object.keys(imported)) assert.equal(imported[name], required[name], name)
})

test('a process with an open mind ends by itself', async (t) => {
  const code = `
    import { Triune } from 'triune'
    const profile = { id: 'a', contextLength: 100 }
    const embedder = { profile: { id: 'e', dimensions: 1, maxTokens: 1 }, embed: (texts) => texts.map(() => [1]) }
    const mind = await Triune.open(process.argv[1], {
      config: { discover: false }, models: [{ profile, chat: () => 'hi' }], embedder,
      functions: [{ name: 'f', run: () => 1 }], gates: [{ name: 'g', check: () => true }],
    })
    const listen = async () => { for await (const event of mind.events()); }
    listen()
    for await (const piece of mind.stream('x')) break
    await mind.recall.store('kept')
    console.log((await mind.generate('x')).text)`
  const begun = performance.now()
  const { stdout, stderr } = await node(code, await folder(t))
  assert.equal(stdout, 'hi\n')
  assert.equal(stderr, '')
  assert.ok(performance.now() - begun < 15_000)
})

test('a call that still waits keeps the process alive', async (t) => {
  const code = `
    import { Triune } from 'triune'
    const profile = { id: 'a', contextLength: 100 }
    const chat = () => new Promise((resolve) => setTimeout(resolve, 50, 'late'))
    const mind = await Triune.open(process.argv[1], { config: { discover: false }, models: [{ profile, chat }] })
    mind.generate('x').then((reply) => console.log(reply.text))`
  assert.equal((await node(code, await folder(t))).stdout, 'late\n')
})

test('what was stored is there in the next process', async (t) => {
  const path = await folder(t)
  const code = (body) => `
    import { Triune } from 'triune'
    const mind = await Triune.open(process.argv[1], { config: { discover: false } })
    ${body}`
  await node(code(`await mind.recall.store('kept', { id: 'k', vector: [1, 0] })`), path)
  assert.equal((await node(code(`console.log((await mind.recall.get('k')).text)`), path)).stdout, 'kept\n')
})

test('without a binary, the loader says what to do', async (t) => {
  const path = await folder(t)
  const copy = join(path, 'node_modules', 'triune')
  await mkdir(copy, { recursive: true })
  for (const file of ['package.json', 'index.mjs']) await copyFile(join(root, file), join(copy, file))
  await cp(join(root, 'dist'), join(copy, 'dist'), { recursive: true })
  const load = () => run(process.execPath, ['-e', "require('triune')"], { cwd: path })
  const platform = `${process.platform}-${process.arch}`
  await assert.rejects(load(), ({ stderr }) => stderr.includes(`no binary for ${platform}`) && stderr.includes('npm run build'))
  await writeFile(join(copy, 'native.node'), 'not a library')
  await assert.rejects(load(), ({ stderr }) => stderr.includes('does not load') && stderr.includes('npm run build'))
})

test('a worker thread may open a mind too', async (t) => {
  const code = `
    import { Worker } from 'node:worker_threads'
    const worker = new Worker(\`
      import { workerData } from 'node:worker_threads'
      import { Triune } from 'triune'
      const profile = { id: 'a', contextLength: 100 }
      Triune.open(workerData, { config: { discover: false }, models: [{ profile, chat: () => 'from a worker' }] })
        .then(async (mind) => { console.log((await mind.generate('x')).text); await mind.close() })
    \`, { eval: true, workerData: process.argv[1] })
    worker.on('exit', (code) => { process.exitCode = code })`
  assert.equal((await node(code, await folder(t))).stdout, 'from a worker\n')
})

test('the package is found by a project that links it', async (t) => {
  const path = await folder(t)
  await mkdir(join(path, 'node_modules'))
  await symlink(root, join(path, 'node_modules', 'triune'))
  await writeFile(join(path, 'a.cjs'), "console.log(typeof require('triune').Triune.open)")
  await writeFile(join(path, 'a.mjs'), "import { Triune } from 'triune'\nconsole.log(typeof Triune.open)")
  for (const file of ['a.cjs', 'a.mjs']) {
    assert.equal((await run(process.execPath, [join(path, file)])).stdout, 'function\n', file)
  }
})
