// A graph of tasks whose bodies are functions of this program: run at once where they can, tried again where they
// fail, and gone on with after the process was killed in the middle.
//
//   npm run tasks
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Task, Triune, UnavailableError } from 'triune'

const self = fileURLToPath(import.meta.url)
const config = { discover: false, parallel: { leaseMs: 500, backoffMs: 10 } }
// The process that is killed is this program too, started with the folder as its argument.
const [folder = await mkdtemp(join(tmpdir(), 'triune-tasks-'))] = process.argv.slice(2)
const dies = process.argv.length > 2

const words = (name, text) =>
  new Task(name, () => {
    console.log(`  ${name} counts (process ${process.pid})`)
    return text.split(/\s+/).length
  })

const tasks = [
  words('first', 'one two three'),
  words('second', 'four five'),
  new Task(
    'flaky',
    ({ attempt }) => {
      if (attempt === 1) throw new UnavailableError('the network is not there')
      return 10
    },
    { retries: 3 },
  ),
  new Task(
    'sum',
    ({ results }) => {
      if (dies) process.kill(process.pid, 'SIGKILL')
      return results.first + results.second + results.flaky
    },
    { after: ['first', 'second', 'flaky'], retries: 3 },
  ),
]

if (dies) {
  const mind = await Triune.open(folder, { config })
  await mind.parallel.run(tasks, { run: 'count-words' })
} else {
  console.log('a process begins the run, and is killed in its last task:')
  const child = spawn(process.execPath, [self, folder], { stdio: 'inherit' })
  const [, signal] = await once(child, 'exit')
  console.log(`  ended by ${signal}`)

  console.log('another process goes on:')
  const mind = await Triune.open(folder, { config })
  // The same plan under the same id: what was finished is not done again.
  const report = await goOn(() => mind.parallel.run(tasks, { run: 'count-words' }))
  for (const { task, outcome, value, attempts, restored } of report.tasks) {
    console.log(`  ${task}: ${outcome}, ${value} (attempts ${attempts}${restored ? ', from the journal' : ''})`)
  }
  await mind.close()
  await rm(folder, { recursive: true })
}

/** The killed process may hold its lease for another moment. */
async function goOn(run) {
  for (;;) {
    try {
      return await run()
    } catch (error) {
      if (error.code !== 'CONFLICT') throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
