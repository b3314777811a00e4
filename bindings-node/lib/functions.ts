import { NotFoundError, guarded } from './errors.js'
import { functionCallback, type HostContext, type HostFunction, type Scopes } from './host.js'
import type { NativeMind } from './native.js'
import type { Task } from './task.js'
import type { FunctionSpec } from './types.js'

/** The functions of the program, by the names under which the engine calls them. */
export class Functions {
  readonly #native: NativeMind
  readonly #scopes: Scopes
  /** Those that were registered by name. */
  readonly #named = new Map<string, HostFunction>()
  /** Bodies of the runs at work, by task: two runs may have a task of one name and different bodies. A list, for a run
   * is asked for again before it is known that it ended. */
  readonly #runs = new Map<string, Map<string, HostFunction>[]>()
  /** Names that are known only as long as runs need them, and how many do. */
  readonly #lent = new Map<string, number>()

  constructor(native: NativeMind, scopes: Scopes) {
    this.#native = native
    this.#scopes = scopes
  }

  register(spec: FunctionSpec, run: HostFunction): void {
    this.#tell(spec)
    this.#named.set(spec.name, run)
  }

  /** The tasks in the form of the engine; `body` hears of functions that have no name yet. */
  plan(tasks: Task[], body: (task: string, run: HostFunction) => void = () => {}): object[] {
    return tasks.map((task) =>
      task.toWire(() => {
        const run = task.body as HostFunction
        const known = [...this.#named].find(([, named]) => named === run)
        if (known) return known[0]
        body(task.name, run)
        return task.name
      }),
    )
  }

  /** Does `work` with the plan of a run, whose functions can be called until it has ended. */
  async during<T>(run: string, tasks: Task[], work: (plan: object[]) => Promise<T>): Promise<T> {
    const bodies = new Map<string, HostFunction>()
    const plan = this.plan(tasks, (task, body) => bodies.set(task, body))
    const lent: string[] = []
    const runs = this.#runs.get(run)
    if (runs) runs.push(bodies)
    else this.#runs.set(run, [bodies])
    try {
      for (const name of bodies.keys()) {
        // A plan never takes the place of what was registered by this name: `#find` knows both.
        if (this.#named.has(name)) continue
        if (!this.#lent.has(name)) this.#tell({ name })
        this.#lent.set(name, (this.#lent.get(name) ?? 0) + 1)
        lent.push(name)
      }
      return await work(plan)
    } finally {
      const left = this.#runs.get(run)?.filter((other) => other !== bodies) ?? []
      if (left.length > 0) this.#runs.set(run, left)
      else this.#runs.delete(run)
      lent.forEach((name) => this.#giveBack(name))
    }
  }

  #giveBack(name: string): void {
    const runs = (this.#lent.get(name) ?? 1) - 1
    if (runs > 0) {
      this.#lent.set(name, runs)
      return
    }
    this.#lent.delete(name)
    if (!this.#named.has(name)) this.#native.unregisterFunction(name)
  }

  #tell(spec: FunctionSpec): void {
    const call = (input: any, context: HostContext) => this.#find(spec.name, input)(input, context)
    guarded(() => this.#native.registerFunction(JSON.stringify(spec), functionCallback(this.#scopes, call)))
  }

  #find(name: string, input: any): HostFunction {
    const ofTask = this.#runs.get(input?.run)?.find((bodies) => bodies.has(input.task))?.get(input.task)
    const body = ofTask ?? this.#named.get(name)
    if (!body) throw new NotFoundError(`no function is called "${name}"; register it with mind.registerFunction`)
    return body
  }
}
