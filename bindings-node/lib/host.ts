/** Parts that the program writes itself, and how the engine calls them. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { CancelledError, HostError, HostFailure } from './errors.js'
import type { NativeCallback, NativeScope } from './native.js'
import type {
  Artifact,
  FinishReason,
  FunctionSpec,
  Message,
  ModelProfile,
  Price,
  ResponseFormat,
  Sampling,
  TokenLogprob,
  ToolCall,
  ToolChoice,
  Usage,
  Verdict,
} from './types.js'
import { fromWire, toWire } from './wire.js'

/**
 * What the engine hands to code of the program, besides the request. Calls of the mind that this code makes are a part of
 * the call it works for: they end with it, spend from its budget, and are for its tenant unless they say otherwise.
 */
export interface HostContext {
  /** Aborted when the result is no longer wanted: the caller cancelled, or the deadline passed. */
  signal: AbortSignal
}

/** What a chat model is asked. */
export interface ChatRequest {
  /** The last message is what is answered. */
  messages: Message[]
  tools: FunctionSpec[]
  /** Whether it is to call some. */
  toolChoice: ToolChoice
  /** Whether it may call more than one at once. */
  parallelToolCalls?: boolean
  responseFormat: ResponseFormat
  sampling: Sampling
}

/** An answer, or a piece of one. */
export interface ChatPiece {
  text?: string
  toolCalls?: ToolCall[]
  /** Of the tokens of `text`, when they were asked for. */
  logprobs?: TokenLogprob[]
  /** Estimated from the length of the texts when absent. */
  usage?: Partial<Usage>
  finishReason?: FinishReason
}

type Pieces =
  | AsyncIterable<string | ChatPiece, ChatPiece | void | undefined>
  | Iterable<string | ChatPiece, ChatPiece | void | undefined>

/** What a chat model answers: a text, an object, or pieces as they come (what a generator returns ends the answer). */
export type ChatAnswer = string | ChatPiece | Pieces

/** A chat model of the program. */
export interface ChatModel {
  readonly profile: ModelProfile
  chat(request: ChatRequest, context: HostContext): ChatAnswer | Promise<ChatAnswer>
}

/** An embedder of the program. */
export interface Embedder {
  readonly profile: {
    /** A namespace refuses vectors of another embedder than its first. */
    id: string
    dimensions: number
    /** Tokens of a text that are read. */
    maxTokens: number
    /** Whether texts stay in this process. Default true. */
    local?: boolean
    /** What it costs. Default: nothing. */
    price?: Price
    /** The name of the provider's key that pays for it, never the key itself. */
    key?: string
  }
  /** One vector a text, in order; brought to length 1 where they are not. */
  embed(texts: string[], context: HostContext): Vectors | Promise<Vectors>
  /** The same for queries, where they are embedded in another way than the texts that answer them. */
  embedQueries?(texts: string[], context: HostContext): Vectors | Promise<Vectors>
}

/** What a router is asked. */
export interface RouteRequest {
  /** Tokens of the request. */
  inputTokens: number
  /** Tokens the answer may have. */
  maxOutputTokens: number
  /** What a model must offer. */
  needs: object
  /** What is asked: the last message of the user. */
  prompt?: string
  /** The caller's name of the task. */
  tag?: string
  /** The vector of the prompt, where one was made. */
  embedding?: number[]
  /** Whether a budget that pays is past its soft limit: among models that are good enough the cheapest goes first. */
  thrifty: boolean
}

/** A model as it is right now. */
export interface ModelState {
  profile: ModelProfile
  /** Whether it may be tried: `closed`, or `half_open` when one call may see whether it works again. */
  breaker: 'closed' | 'half_open' | 'open'
}

/** A router of the program: given the request and the models that meet its needs, the names of those to try, best first,
 * or objects with the reason too. */
export type Route = (
  request: RouteRequest,
  models: ModelState[],
  context: HostContext,
) => Chosen | Promise<Chosen>

type Chosen = (string | { model: string; reason?: string })[]

/** A reranker of the program. */
export interface Reranker {
  /** Its name, in errors. */
  readonly name: string
  /** One score a text, in order, higher for better answers to the query. */
  rerank(query: string, texts: string[], context: HostContext): ArrayLike<number> | Promise<ArrayLike<number>>
}

type Vectors = ArrayLike<ArrayLike<number>>

/** A function of the program: the body of a task (it is given a `TaskCall`), or a tool (it is given its arguments). */
export type HostFunction<Input = any> = (input: Input, context: HostContext) => unknown

/** An engine of the program: it is asked and answers any JSON. */
export interface HostEngine {
  readonly name: string
  call(request: any, context: HostContext): unknown
}

/** A gate of the program. */
export interface HostGate {
  readonly name: string
  /** A verdict, or only whether the artifact passes. */
  check(
    artifact: Artifact,
    context: HostContext,
  ): boolean | Omit<Verdict, 'gate'> | Promise<boolean | Omit<Verdict, 'gate'>>
}

const givenUp = () => new CancelledError('the result is no longer wanted: the call was cancelled or its deadline passed')

/** The call that the running code works for, for one mind: calls which that code makes are a part of it. */
export class Scopes extends AsyncLocalStorage<NativeScope> {}

/** A callback of one question and one answer. */
function answering<R>(
  scopes: Scopes,
  answer: (question: string, context: HostContext) => R | Promise<R>,
): NativeCallback<R> {
  const open = new Map<number, AbortController>()
  return async (turn, question, scope) => {
    if (question === null || scope === null) {
      open.get(turn)?.abort(givenUp())
      // Nobody reads the answer to a turn that was given up.
      return undefined as R
    }
    const controller = new AbortController()
    open.set(turn, controller)
    try {
      return await scopes.run(scope, answer, question, { signal: controller.signal })
    } catch (thrown) {
      throw new HostFailure(thrown)
    } finally {
      open.delete(turn)
    }
  }
}

/** JSON in, JSON out. */
const jsonText = (value: unknown): string => JSON.stringify(value) ?? 'null'

export const functionCallback = (scopes: Scopes, call: HostFunction): NativeCallback<string> =>
  answering(scopes, async (input, context) => jsonText(await call(JSON.parse(input), context)))

export const gateCallback = (scopes: Scopes, gate: HostGate): NativeCallback<string> =>
  answering(scopes, async (artifact, context) => {
    const verdict = await gate.check(fromWire<Artifact>(JSON.parse(artifact)), context)
    const full = typeof verdict === 'boolean' ? { passed: verdict, findings: [] } : verdict
    return jsonText({ gate: gate.name, ...full, findings: full.findings ?? [] })
  })

export const embedderCallback = (scopes: Scopes, embedder: Embedder): NativeCallback<Float32Array> =>
  answering(scopes, async (question, context) => {
    const { id, dimensions } = embedder.profile
    const { texts, query } = JSON.parse(question) as { texts: string[]; query: boolean }
    const vectors = await (query && embedder.embedQueries
      ? embedder.embedQueries(texts, context)
      : embedder.embed(texts, context))
    if (vectors?.length !== texts.length) {
      throw new HostError(`embedder "${id}" gave ${vectors?.length} vectors for ${texts.length} texts`)
    }
    const flat = new Float32Array(texts.length * dimensions)
    for (let i = 0; i < texts.length; i++) {
      const vector = vectors[i]
      if (vector?.length !== dimensions) {
        throw new HostError(`embedder "${id}" gave a vector of ${vector?.length} numbers; its profile says ${dimensions}`)
      }
      flat.set(vector, i * dimensions)
    }
    return flat
  })

export const routerCallback = (scopes: Scopes, route: Route): NativeCallback<string> =>
  answering(scopes, async (question, context) => {
    const { request, models } = JSON.parse(question) as { request: unknown; models: unknown }
    return JSON.stringify(await route(fromWire<RouteRequest>(request), fromWire<ModelState[]>(models), context))
  })

export const rerankerCallback = (scopes: Scopes, reranker: Reranker): NativeCallback<Float64Array> =>
  answering(scopes, async (question, context) => {
    const { query, texts } = JSON.parse(question) as { query: string; texts: string[] }
    return Float64Array.from(await reranker.rerank(query, texts, context))
  })

/** A streamed answer that the engine asks for piece by piece. */
interface OpenChat {
  controller: AbortController
  pieces?: AsyncIterator<string | ChatPiece> | Iterator<string | ChatPiece>
}

const isPieces = (answer: ChatAnswer): answer is Pieces & object =>
  typeof answer === 'object' && answer !== null && (Symbol.asyncIterator in answer || Symbol.iterator in answer)

const iterate = (pieces: Pieces): NonNullable<OpenChat['pieces']> =>
  Symbol.asyncIterator in pieces ? pieces[Symbol.asyncIterator]() : pieces[Symbol.iterator]()

function piece(answer: string | ChatPiece | void | undefined, more: boolean): string {
  if (typeof answer === 'string') return JSON.stringify({ text: answer, more })
  if (answer !== undefined && (typeof answer !== 'object' || answer === null)) {
    throw new HostError(`a chat model answers texts or objects, not ${answer === null ? 'null' : typeof answer}`)
  }
  const { text, toolCalls, logprobs, usage, finishReason } = (answer ?? {}) as ChatPiece
  return JSON.stringify({ ...(toWire({ text, toolCalls, logprobs, usage, finishReason }) as object), more })
}

export function chatCallback(scopes: Scopes, model: ChatModel): NativeCallback<string> {
  const open = new Map<number, OpenChat>()

  const stop = ({ controller, pieces }: OpenChat) => {
    controller.abort(givenUp())
    // The iterator may refuse to end; nobody waits for it.
    void Promise.resolve(pieces?.return?.()).catch(() => {})
  }

  const begin = async (turn: number, question: string): Promise<string> => {
    const chat: OpenChat = { controller: new AbortController() }
    open.set(turn, chat)
    const request = fromWire<ChatRequest>(JSON.parse(question))
    const answer = await model.chat(request, { signal: chat.controller.signal })
    if (!isPieces(answer)) {
      open.delete(turn)
      return piece(answer, false)
    }
    chat.pieces = iterate(answer)
    if (chat.controller.signal.aborted) stop(chat)
    return piece(undefined, true)
  }

  const next = async (turn: number, pieces: NonNullable<OpenChat['pieces']>): Promise<string> => {
    const { done, value } = await pieces.next()
    if (done) open.delete(turn)
    return piece(value, !done)
  }

  return async (turn, question, scope) => {
    const chat = open.get(turn)
    if (question === null || scope === null) {
      open.delete(turn)
      if (chat) stop(chat)
      return ''
    }
    try {
      return await scopes.run(scope, () => (chat?.pieces ? next(turn, chat.pieces) : begin(turn, question)))
    } catch (thrown) {
      open.delete(turn)
      throw new HostFailure(thrown)
    }
  }
}

/** A profile in the form of the engine. */
export const profileText = (profile: object): string => JSON.stringify(toWire({ local: true, ...profile }))
