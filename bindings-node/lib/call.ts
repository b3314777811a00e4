import { fromNative } from './errors.js'
import type { NativeCancel, NativeMind } from './native.js'
import type { Scopes } from './host.js'
import type { CallOptions, NewItem } from './types.js'
import { fromWireInTurns, itemsInTurns, nanoUsd, toWire } from './wire.js'

const callOptions = ({ timeoutMs, tenant, budgetUsd, priority }: CallOptions): string | undefined =>
  timeoutMs === undefined && tenant === undefined && budgetUsd === undefined && priority === undefined
    ? undefined
    : JSON.stringify({
        timeout_ms: timeoutMs,
        tenant,
        budget_nano_usd: budgetUsd === undefined ? undefined : nanoUsd(budgetUsd),
        priority,
      })

/** The calls that a signal stops. One listener a signal: a thousand calls may share one, and Node warns from eleven on. */
const stoppable = new WeakMap<AbortSignal, Set<NativeCancel>>()

/** Stops `cancel` with `signal`; answers what ends the connection. */
export function connect(signal: AbortSignal | undefined, cancel: NativeCancel): () => void {
  if (!signal) return () => {}
  let calls = stoppable.get(signal)
  if (!calls) {
    const all = new Set<NativeCancel>()
    signal.addEventListener('abort', () => all.forEach((call) => call.abort()), { once: true })
    stoppable.set(signal, all)
    calls = all
  }
  calls.add(cancel)
  return () => calls.delete(cancel)
}

/** Lets so many in during one turn of the event loop; others wait for the next turns, in their order. */
class Turns {
  readonly #waiting: (() => void)[] = []
  #free: number
  #next: NodeJS.Immediate | undefined

  constructor(private readonly each: number) {
    this.#free = each
  }

  async enter(): Promise<void> {
    this.#next ??= setImmediate(() => this.#begin())
    if (this.#free > 0) this.#free -= 1
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  #begin(): void {
    const now = this.#waiting.splice(0, this.each)
    this.#free = this.each - now.length
    this.#next = this.#waiting.length > 0 ? setImmediate(() => this.#begin()) : undefined
    for (const enter of now) enter()
  }
}

/** Makes calls: connects their signals, and throws the right errors. */
export class Caller {
  /** Calls of the memory are short and end together, a thousand with one commit: so few requests are written and
   * replies read in one turn that they do not hold the event loop up. Those of models take their time anyway. */
  readonly #turns = new Turns(100)

  constructor(
    readonly native: NativeMind,
    private readonly scopes: Scopes,
  ) {}

  /** Runs `work`, stopped by the signal of `options`. */
  async run<T>(
    options: CallOptions,
    work: (options: string | undefined, cancel: NativeCancel) => Promise<T>,
  ): Promise<T> {
    const { signal } = options
    signal?.throwIfAborted()
    const cancel = this.native.cancel(this.scopes.getStore())
    const disconnect = connect(signal, cancel)
    try {
      return await work(callOptions(options), cancel)
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      throw fromNative(error)
    } finally {
      disconnect()
    }
  }

  /** Asks an engine in its own form, and answers in it. */
  async json(engine: string, request: unknown, options: CallOptions = {}): Promise<unknown> {
    const text = JSON.stringify(request ?? null)
    return JSON.parse(await this.run(options, (call, cancel) => this.native.call(engine, text, call, cancel)))
  }

  /** Asks an engine, with names and money in the form of JavaScript. */
  async ask<T>(engine: string, verb: string, request: object, options: CallOptions = {}): Promise<T> {
    const recall = engine === 'recall'
    if (recall) options = await this.#turn(options, performance.now())
    const text = JSON.stringify({ do: verb, ...(toWire(request) as object) })
    const reply = await this.run(options, (call, cancel) => this.native.call(engine, text, call, cancel))
    if (recall) await this.#turns.enter()
    return fromWireInTurns<T>(JSON.parse(reply))
  }

  /** Asks something of the folder as a whole. */
  async folder<T>(verb: string, request: object, options: CallOptions = {}): Promise<T> {
    const text = JSON.stringify({ do: verb, ...(toWire(request) as object) })
    return fromWireInTurns<T>(JSON.parse(await this.run(options, (call, cancel) => this.native.folder(text, call, cancel))))
  }

  /** Keeps much knowledge: its texts are written in turns, its vectors cross as they are. */
  async storeMany(items: NewItem[], options: CallOptions = {}): Promise<string[]> {
    const began = performance.now()
    const { parts, vectors, lengths } = await itemsInTurns(items)
    const ids = await this.run(await this.#turn(options, began), (call, cancel) =>
      this.native.storeMany(parts, vectors, lengths, call, cancel),
    )
    return JSON.parse(ids)
  }

  /** Waits for a turn; answers the options with the time that is left of a call that `began`. */
  async #turn(options: CallOptions, began: number): Promise<CallOptions> {
    await this.#turns.enter()
    const { timeoutMs } = options
    // What is no time is left to the engine to refuse.
    if (timeoutMs === undefined || !(timeoutMs > 0)) return options
    return { ...options, timeoutMs: Math.max(0, timeoutMs - (performance.now() - began)) }
  }
}

/** `options` without those of the call. */
export function withoutCall<T extends CallOptions>(options: T): Omit<T, keyof CallOptions> {
  const { signal: _1, timeoutMs: _2, tenant: _3, budgetUsd: _4, priority: _5, ...rest } = options
  return rest
}
