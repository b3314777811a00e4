import { randomBytes } from 'node:crypto'
import type { Caller } from './call.js'
import type { Functions } from './functions.js'
import { RunReport, type Task } from './task.js'
import type { CallOptions } from './types.js'
import { fromWire } from './wire.js'

export interface RunOptions extends CallOptions {
  /** The id of the run. With the id of a run that was interrupted, that run goes on. Default: a fresh one. */
  run?: string
  /** Tasks at once. Default: the configured number. */
  concurrency?: number
}

/** A fresh id; later ones sort behind earlier ones, as those of the engine do (UUID version 7). */
function freshRun(): string {
  const random = randomBytes(10)
  random[0] = (random[0]! & 0x0f) | 0x70
  random[2] = (random[2]! & 0x3f) | 0x80
  return Date.now().toString(16).padStart(12, '0') + random.toString('hex')
}

/** Parallel Mind: task graphs, journalled, so that a killed run goes on. */
export class Parallel {
  readonly #caller: Caller
  readonly #functions: Functions

  /** @internal */
  constructor(caller: Caller, functions: Functions) {
    this.#caller = caller
    this.#functions = functions
  }

  /** Runs tasks, at once where they can. Tasks that fail are in the report; they do not reject. */
  async run(tasks: Task[], options: RunOptions = {}): Promise<RunReport> {
    const run = options.run ?? freshRun()
    return this.#functions.during(run, tasks, (plan) =>
      this.#report({ do: 'run', tasks: plan, run, concurrency: options.concurrency }, options),
    )
  }

  /** Goes on with an interrupted run by the plan in the journal. Its functions must be registered. */
  async resume(run: string, options: CallOptions = {}): Promise<RunReport> {
    return this.#report({ do: 'resume', run }, options)
  }

  /** A run as it is in the journal. */
  async get(run: string, options: CallOptions = {}): Promise<RunReport> {
    return this.#report({ do: 'get', run }, options)
  }

  /** Checks tasks; answers their names in an order in which they can run. */
  async validate(tasks: Task[], options: CallOptions = {}): Promise<string[]> {
    const request = { do: 'validate', tasks: this.#functions.plan(tasks) }
    return ((await this.#caller.json('parallel', request, options)) as { order: string[] }).order
  }

  /** Ids of runs that have not ended, oldest first. */
  async unfinished(options: CallOptions = {}): Promise<string[]> {
    return (await this.#caller.ask<{ runs: string[] }>('parallel', 'unfinished', {}, options)).runs
  }

  async #report(request: object, options: CallOptions): Promise<RunReport> {
    // `tasks` of a report is a list, so its user values are found under their opaque names.
    return new RunReport(fromWire(await this.#caller.json('parallel', request, options)))
  }
}
