import { NotFoundError, guarded } from './errors.js'
import { functionCallback, type HostContext, type HostFunction } from './host.js'
import type { NativeMind } from './native.js'
import type { Task } from './task.js'
import type { FunctionSpec } from './types.js'

/** The functions of the program, by the names under which the engine calls them. */
export class Functions {
  readonly #native: NativeMind
  /** Those that were registered by name. */
  readonly #named = new Map<string, HostFunction>()
  /** The last body that a task of this name had. */
  readonly #bodies = new Map<string, HostFunction>()
  /** Bodies of the runs at work, by run and task: two runs may have a task of one name and different bodies. */
  readonly #runs = new Map<string, Map<string, HostFunction>>()

  constructor(native: NativeMind) {
    this.#native = native
  }

  register(spec: FunctionSpec, run: HostFunction): void {
    this.#tell(spec)
    this.#named.set(spec.name, run)
  }

  /** The tasks in the form of the engine, their bodies ready to be called in `run`. */
  prepare(run: string | undefined, tasks: Task[]): object[] {
    const bodies = new Map<string, HostFunction>()
    const wire = tasks.map((task) =>
      task.toWire(() => {
        const body = task.body as HostFunction
        const known = [...this.#named].find(([, named]) => named === body)
        if (known) return known[0]
        if (!this.#named.has(task.name) && !this.#bodies.has(task.name)) this.#tell({ name: task.name })
        this.#bodies.set(task.name, body)
        bodies.set(task.name, body)
        return task.name
      }),
    )
    if (run !== undefined && bodies.size > 0) this.#runs.set(run, bodies)
    return wire
  }

  /** `run` has ended. */
  forget(run: string): void {
    this.#runs.delete(run)
  }

  #tell(spec: FunctionSpec): void {
    const call = (input: any, context: HostContext) => this.#find(spec.name, input)(input, context)
    guarded(() => this.#native.registerFunction(JSON.stringify(spec), functionCallback(call)))
  }

  #find(name: string, input: any): HostFunction {
    const body = this.#runs.get(input?.run)?.get(input?.task) ?? this.#named.get(name) ?? this.#bodies.get(name)
    if (!body) throw new NotFoundError(`no function is called "${name}"; register it with mind.registerFunction`)
    return body
  }
}
