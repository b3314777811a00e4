// Time of a small call from Node; see first.py.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Triune } from '../bindings-node/index.mjs'

const calls = Number(process.argv[2])
const folder = mkdtempSync(join(tmpdir(), 'triune-call-'))
const mind = await Triune.open(folder, { config: { discover: false } })
await mind.call('recall', { do: 'namespaces' })
const begun = performance.now()
for (let i = 0; i < calls; i++) await mind.call('recall', { do: 'namespaces' })
const us = ((performance.now() - begun) * 1000) / calls
await mind.close()
rmSync(folder, { recursive: true })
console.log(JSON.stringify({ us }))
