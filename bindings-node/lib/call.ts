import { fromNative } from './errors.js'
import type { NativeCancel, NativeMind } from './native.js'
import type { CallOptions } from './types.js'
import { fromWireInTurns, nanoUsd, toWire } from './wire.js'

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

/** Lets so many in at once; others wait in their order. */
class Turnstile {
  readonly #waiting: (() => void)[] = []

  constructor(private free: number) {}

  async enter(): Promise<void> {
    if (this.free > 0) this.free -= 1
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  leave(): void {
    const next = this.#waiting.shift()
    if (next) next()
    else this.free += 1
  }
}

/** Makes calls: connects their signals, and throws the right errors. */
export class Caller {
  /** Calls of the memory are short and end together, a thousand with one commit: few enough are let in at once that
   * neither their requests nor their replies hold the event loop up. Those of models are not: they take their time. */
  readonly #memory = new Turnstile(100)

  constructor(readonly native: NativeMind) {}

  /** Runs `work`, stopped by the signal of `options`. */
  async run<T>(
    options: CallOptions,
    work: (options: string | undefined, cancel: NativeCancel) => Promise<T>,
  ): Promise<T> {
    const { signal } = options
    signal?.throwIfAborted()
    const cancel = this.native.cancel()
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
    if (engine !== 'recall') {
      return fromWireInTurns<T>(await this.json(engine, { do: verb, ...(toWire(request) as object) }, options))
    }
    await this.#memory.enter()
    try {
      return await fromWireInTurns<T>(await this.json(engine, { do: verb, ...(toWire(request) as object) }, options))
    } finally {
      this.#memory.leave()
    }
  }
}

/** `options` without those of the call. */
export function withoutCall<T extends CallOptions>(options: T): Omit<T, keyof CallOptions> {
  const { signal: _1, timeoutMs: _2, tenant: _3, budgetUsd: _4, priority: _5, ...rest } = options
  return rest
}
