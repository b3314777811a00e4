import { connect, type Caller } from './call.js'
import { fromNative } from './errors.js'
import type { NativeCancel, NativePieces } from './native.js'
import type { CallOptions, Reply } from './types.js'
import { fromWire } from './wire.js'

type StreamEvent = { type: 'text'; text: string } | { type: 'done'; reply: unknown }

/**
 * The pieces of an answer as they come. It begins when the first piece is asked for; leaving a `for await` early stops
 * the model.
 */
export class TextStream implements AsyncIterableIterator<string> {
  /** The whole answer, once the stream has ended. */
  reply: Reply | undefined

  readonly #caller: Caller
  readonly #request: object
  readonly #options: CallOptions
  readonly #pieces: AsyncGenerator<string, void>
  #cancel: NativeCancel | undefined
  #left = false

  /** @internal */
  constructor(caller: Caller, request: object, options: CallOptions) {
    this.#caller = caller
    this.#request = request
    this.#options = options
    this.#pieces = this.#read()
  }

  next(): Promise<IteratorResult<string, void>> {
    return this.#pieces.next()
  }

  /** Stops the model. */
  return(): Promise<IteratorResult<string, void>> {
    this.#left = true
    this.#cancel?.abort()
    return this.#pieces.return()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Reads to the end; answers the whole. */
  async collect(): Promise<Reply> {
    for await (const _ of this);
    // The last event of a stream that did not fail is its reply.
    return this.reply as Reply
  }

  /** The pieces as a web stream; cancelling it stops the model. */
  toReadableStream(): ReadableStream<string> {
    return new ReadableStream<string>({
      pull: async (controller) => {
        const { done, value } = await this.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      cancel: async () => {
        await this.return()
      },
    })
  }

  async *#read(): AsyncGenerator<string, void> {
    const { signal } = this.#options
    let pieces: NativePieces | undefined
    let disconnect = () => {}
    try {
      pieces = await this.#caller.run(this.#options, (options, cancel) => {
        this.#cancel = cancel
        return this.#caller.native.stream(JSON.stringify(this.#request), options, cancel)
      })
      if (signal?.aborted) throw signal.reason
      if (this.#cancel) disconnect = connect(signal, this.#cancel)
      for (;;) {
        const batch = await pieces.next()
        if (batch === null) return
        for (const event of JSON.parse(batch) as StreamEvent[]) {
          if (event.type === 'text') yield event.text
          else this.reply = fromWire<Reply>(event.reply)
        }
      }
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      // Who left the stream does not want to hear that it was cancelled.
      if (this.#left) return
      throw fromNative(error)
    } finally {
      disconnect()
      pieces?.close()
    }
  }
}
