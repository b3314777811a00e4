import type { HostFunction } from './host.js'
import type { GenerateOptions, Message, RunState, TaskCall, TaskResult } from './types.js'
import { generateRequest } from './generate.js'

/** What a task takes besides its body. */
export interface TaskOptions {
  /** Names of the tasks that must have succeeded before. */
  after?: string[]
  /** What it is given; any JSON. */
  input?: unknown
  /** Attempts after the first. Default 0. */
  retries?: number
  /** Time of one attempt. Default: the configured one. */
  timeoutMs?: number
}

type Body =
  | HostFunction<TaskCall>
  | { function: string }
  | { prompt: object }
  | { engine: { name: string; request: unknown } }
  | { value: unknown }

/**
 * One task of a plan.
 *
 * Calls of the mind that a body makes are a part of the run: they end with it, spend from its budget, and what they
 * store can be read once the task has succeeded, in one commit with its result.
 *
 * The journal knows a body that is a function by the name of the task (or the name it was registered by before). Who
 * goes on with an interrupted run must register it by that name before, with `mind.registerFunction`, or run the same
 * plan under the same run id.
 */
export class Task {
  readonly name: string
  /** @internal */
  readonly body: Body
  readonly options: Readonly<TaskOptions>

  constructor(name: string, body: HostFunction<TaskCall>, options?: TaskOptions)
  /** @internal */
  constructor(name: string, body: Body, options?: TaskOptions)
  constructor(name: string, body: Body, options: TaskOptions = {}) {
    this.name = name
    this.body = body
    this.options = options
  }

  /** Calls a registered function. */
  static function(name: string, registered: string, options?: TaskOptions): Task {
    return new Task(name, { function: registered }, options)
  }

  /**
   * Asks a model; the result is the text of the answer. The prompt is a template over `input` and `results`:
   * `Summarise: {{ results.fetch }}`.
   */
  static prompt(
    name: string,
    prompt: string | Message[],
    options: TaskOptions & Omit<GenerateOptions, 'signal' | 'tenant' | 'budgetUsd' | 'priority'> = {},
  ): Task {
    const { after, input, retries, timeoutMs, ...generate } = options
    return new Task(name, { prompt: generateRequest(prompt, generate) }, { after, input, retries, timeoutMs })
  }

  /** Asks an engine, with a request in the form of `mind.call`; texts in it are templates. The result is its reply. */
  static engine(name: string, engine: string, request: unknown, options?: TaskOptions): Task {
    return new Task(name, { engine: { name: engine, request } }, options)
  }

  /** A constant for the tasks after it. */
  static value(name: string, value: unknown, options?: TaskOptions): Task {
    return new Task(name, { value }, options)
  }

  /**
   * The form of the engine.
   *
   * @internal
   */
  toWire(functionName: (task: Task) => string): object {
    const { after, input, retries, timeoutMs } = this.options
    const body = typeof this.body === 'function' ? { function: functionName(this) } : this.body
    return { name: this.name, do: body, after, input, retries, timeout_ms: timeoutMs }
  }
}

/** A run and its tasks, in the order of the plan. */
export class RunReport {
  /** Its id. */
  readonly run: string
  /** How it is. */
  readonly state: RunState
  /** The tasks that ended. */
  readonly tasks: TaskResult[]
  /** Time this process worked on it. */
  readonly latencyMs: number

  /** @internal */
  constructor(report: { run: string; state: RunState; tasks: TaskResult[]; latencyMs: number }) {
    this.run = report.run
    this.state = report.state
    this.tasks = report.tasks
    this.latencyMs = report.latencyMs
  }

  /** The results of the tasks that succeeded, by name. */
  get results(): Record<string, any> {
    const succeeded = this.tasks.filter((task) => task.outcome === 'succeeded')
    return Object.fromEntries(succeeded.map((task) => [task.task, task.value]))
  }

  /** How the task called `name` ended; undefined when it has not. */
  task(name: string): TaskResult | undefined {
    return this.tasks.find((task) => task.task === name)
  }
}
