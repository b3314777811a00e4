// Begins a run and is killed in its second task; see parallel.test.mjs.
import { appendFileSync } from 'node:fs'
import { Task, Triune } from 'triune'

const [path, log] = process.argv.slice(2)
const mind = await Triune.open(path, { config: { discover: false, parallel: { lease_ms: 300 } } })
const first = new Task('first', () => {
  appendFileSync(log, 'first\n')
  return 'first was done'
})
const second = new Task('second', () => {
  appendFileSync(log, 'second\n')
  process.kill(process.pid, 'SIGKILL')
  return new Promise(() => {})
}, { after: ['first'], retries: 1 })
await mind.parallel.run([first, second], { run: 'report-2026' })
