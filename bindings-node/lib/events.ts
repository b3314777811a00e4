import { guarded } from './errors.js'
import type { NativeEvents, NativeMind } from './native.js'
import type { TriuneEvent } from './types.js'
import { fromWire } from './wire.js'

/** Events that may wait for their reader; then the oldest are lost. */
const BACKLOG = 4096

/**
 * Events from the moment it was made. Listening does not keep the process alive. A reader who falls behind loses the
 * oldest events, and can see how many.
 */
export class EventStream implements AsyncIterableIterator<TriuneEvent> {
  readonly #native: NativeEvents
  readonly #signal: AbortSignal | undefined
  #waiting: TriuneEvent[] = []
  #wake: (() => void) | undefined
  #ended = false
  #missedBefore = 0
  #missedHere = 0

  /** @internal */
  constructor(native: NativeMind, signal?: AbortSignal) {
    signal?.throwIfAborted()
    this.#native = guarded(() => native.events((batch) => this.#take(batch)))
    this.#signal = signal
    signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Events lost so far. */
  get missed(): number {
    return this.#missedBefore + this.#missedHere
  }

  async next(): Promise<IteratorResult<TriuneEvent, void>> {
    for (;;) {
      const value = this.#waiting.shift()
      if (value) return { done: false, value }
      if (this.#signal?.aborted) throw this.#signal.reason
      if (this.#ended) return { done: true, value: undefined }
      await new Promise<void>((wake) => {
        const before = this.#wake
        this.#wake = () => (before?.(), wake())
      })
    }
  }

  async return(): Promise<IteratorResult<TriuneEvent, void>> {
    this.close()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Stops listening. */
  close(): void {
    this.#waiting = []
    this.#end()
  }

  #onAbort = () => this.#end()

  #end(): void {
    this.#ended = true
    this.#native.close()
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#notify()
  }

  #notify(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  #take(batch: string): void {
    if (batch === '') return this.#end()
    if (this.#ended) return
    const { missed, events } = JSON.parse(batch) as { missed: number; events: unknown[] }
    this.#missedBefore = missed
    for (const event of events) this.#waiting.push(fromWire<TriuneEvent>(event))
    const over = this.#waiting.length - BACKLOG
    if (over > 0) {
      this.#waiting.splice(0, over)
      this.#missedHere += over
    }
    this.#notify()
  }
}
