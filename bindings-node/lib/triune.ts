import { Caller, withoutCall } from './call.js'
import { Creative, Gates, RouterFacet, Team, type SolveOptions, type TeamOptions } from './engines.js'
import { InvalidError, fromNative, guarded } from './errors.js'
import { EventStream } from './events.js'
import { Functions } from './functions.js'
import { generateRequest } from './generate.js'
import {
  chatCallback,
  embedderCallback,
  functionCallback,
  gateCallback,
  profileText,
  rerankerCallback,
  routerCallback,
  Scopes,
  type ChatModel,
  type Embedder,
  type HostEngine,
  type HostFunction,
  type HostGate,
  type Reranker,
  type Route,
} from './host.js'
import { native, type NativeMind } from './native.js'
import { Parallel, type RunOptions } from './parallel.js'
import { Recall, type QueryOptions, type StoreOptions } from './recall.js'
import { TextStream } from './stream.js'
import type { RunReport, Task } from './task.js'
import type {
  CallOptions,
  Config,
  CreativeSolution,
  EmbedderConfig,
  FunctionSpec,
  GenerateOptions,
  Health,
  Hit,
  ImageOptions,
  ImageReply,
  Message,
  LocalStatistics,
  Metrics,
  ModelConfig,
  Reply,
} from './types.js'
import { fromWire, toWire } from './wire.js'

export interface EmbedOptions extends CallOptions {
  /** Whether the texts are compared with others that may answer them. Default false. */
  query?: boolean
}

/** A function with its description. */
export type DescribedFunction = FunctionSpec & { run: HostFunction }

export interface OpenOptions {
  /** Settings, or the path of a TOML file. The environment (`TRIUNE__...`) goes before them. */
  config?: Config | string
  /** Chat models: of the program, or by name (`'smollm2-135m'`, `{ provider: 'openai', source: 'gpt-4o-mini' }`). */
  models?: (ChatModel | ModelConfig | string)[]
  /** The embedder: of the program, or by name. */
  embedder?: Embedder | EmbedderConfig | string
  functions?: DescribedFunction[]
  engines?: HostEngine[]
  gates?: HostGate[]
}

const isModel = (model: ChatModel | ModelConfig): model is ChatModel => typeof (model as ChatModel).chat === 'function'
const isEmbedder = (embedder: Embedder | EmbedderConfig): embedder is Embedder =>
  typeof (embedder as Embedder).embed === 'function'
const bySource = <T extends object>(named: T | string) => (typeof named === 'string' ? { source: named } : named)

/** Settings with the models that are given by name. */
function settings(options: OpenOptions): Config | string | undefined {
  const { config } = options
  const models = (options.models ?? []).map(bySource).filter((model) => !isModel(model as ChatModel)) as ModelConfig[]
  const embedder = options.embedder === undefined ? undefined : bySource(options.embedder)
  const named = embedder && !isEmbedder(embedder as Embedder) ? (embedder as EmbedderConfig) : undefined
  if (models.length === 0 && !named) return config
  if (typeof config === 'string') {
    throw new InvalidError('models by name and a settings file do not go together; name the models in the file')
  }
  return { ...config, models: [...(config?.models ?? []), ...models], embedder: named ?? config?.embedder }
}

/**
 * Models, memory, tasks, ideas and a team, in one process and one folder.
 *
 * ```ts
 * const mind = await Triune.open('./mind')
 * await mind.recall.store('Ada moved to Paris in 2024')
 * const reply = await mind.generate('Say hello to Ada.')
 * await mind.close()
 * ```
 */
export class Triune implements AsyncDisposable {
  /** The memory. */
  readonly recall: Recall
  /** Parallel Mind: task graphs. */
  readonly parallel: Parallel
  /** Ideas, measured. */
  readonly creative: Creative
  /** Checks on what was generated. */
  readonly gate: Gates
  /** What models cost and saved. */
  readonly router: RouterFacet

  readonly #native: NativeMind
  readonly #scopes: Scopes
  readonly #caller: Caller
  readonly #functions: Functions

  private constructor(mind: NativeMind, scopes: Scopes) {
    this.#native = mind
    this.#scopes = scopes
    this.#caller = new Caller(mind, scopes)
    this.#functions = new Functions(mind, scopes)
    this.recall = new Recall(this.#caller)
    this.parallel = new Parallel(this.#caller, this.#functions)
    this.creative = new Creative(this.#caller)
    this.gate = new Gates(this.#caller)
    this.router = new RouterFacet(this.#caller)
  }

  /** Opens `lmdb:///path` or a plain path, making the folder when it is not there. */
  static async open(url: string, options: OpenOptions = {}): Promise<Triune> {
    const config = settings(options)
    const scopes = new Scopes()
    try {
      const opening = new native.Opening(url)
      if (typeof config === 'string') opening.configFile(config)
      else if (config) opening.config(JSON.stringify(toWire(config)))
      for (const model of (options.models ?? []).map(bySource)) {
        if (isModel(model as ChatModel)) {
          opening.model(profileText((model as ChatModel).profile), chatCallback(scopes, model as ChatModel))
        }
      }
      const { embedder } = options
      if (typeof embedder === 'object' && isEmbedder(embedder)) {
        opening.embedder(profileText(embedder.profile), embedderCallback(scopes, embedder))
      }
      const mind = new Triune(await opening.open(), scopes)
      try {
        for (const { run, ...spec } of options.functions ?? []) mind.registerFunction(spec, run)
        for (const engine of options.engines ?? []) mind.registerEngine(engine)
        for (const gate of options.gates ?? []) mind.registerGate(gate)
      } catch (refused) {
        await mind.close()
        throw refused
      }
      return mind
    } catch (error) {
      throw fromNative(error)
    }
  }

  /** Generates text by the cheapest model that meets the needs. */
  async generate(prompt: string | Message[], options: GenerateOptions = {}): Promise<Reply> {
    const request = { do: 'generate', ...generateRequest(prompt, options) }
    return fromWire<Reply>(await this.#caller.json('router', request, options))
  }

  /** The same, piece by piece. */
  stream(prompt: string | Message[], options: GenerateOptions = {}): TextStream {
    return new TextStream(this.#caller, generateRequest(prompt, options), options)
  }

  /** Embeds texts: one vector of length 1 a text. */
  async embed(texts: string[], options: EmbedOptions = {}): Promise<Float32Array[]> {
    const { query = false } = options
    const embedded = await this.#caller.run(options, (call, cancel) => this.#native.embed(texts, query, call, cancel))
    const dimensions = embedded.count && embedded.vectors.length / embedded.count
    return texts.map((_, i) => embedded.vectors.subarray(i * dimensions, (i + 1) * dimensions))
  }

  /** Makes images by the image model of the settings (`imageModel`). */
  async generateImage(prompt: string, options: ImageOptions = {}): Promise<ImageReply> {
    const request = { do: 'image', prompt, ...withoutCall(options) }
    const reply = fromWire<Omit<ImageReply, 'images'> & { images: { base64: string; url?: string }[] }>(
      await this.#caller.json('router', request, options),
    )
    const images = reply.images.map(({ base64, url }) => ({ data: Buffer.from(base64, 'base64'), ...(url && { url }) }))
    return { ...reply, images }
  }

  /** A team of agents. */
  team(options: TeamOptions = {}): Team {
    return new Team(this.#caller, options)
  }

  /** Keeps knowledge; answers its id once it is on disk. The same as `recall.store`. */
  storeKnowledge(content: string, options: StoreOptions = {}): Promise<string> {
    return this.recall.store(content, options)
  }

  /** Finds knowledge, best first. The same as `recall.query`. */
  recallKnowledge(query: string, options: Omit<QueryOptions, 'k'> & { top?: number } = {}): Promise<Hit[]> {
    const { top, ...rest } = options
    return this.recall.query(query, { k: top, ...rest })
  }

  /** Runs tasks, at once where they can. The same as `parallel.run`. */
  coordinateParallelTasks(tasks: Task[], options: RunOptions = {}): Promise<RunReport> {
    return this.parallel.run(tasks, options)
  }

  /** Solves a problem with ideas that are measured and ranked. The same as `creative.solve`. */
  generateCreativeSolution(problem: string, options: SolveOptions = {}): Promise<CreativeSolution> {
    return this.creative.solve(problem, options)
  }

  /** Asks any engine in its own form: names in snake case, money in nano-dollars; nothing is translated. */
  call(engine: string, request: unknown, options: CallOptions = {}): Promise<any> {
    return this.#caller.json(engine, request, options)
  }

  /** What happened so far in this process. */
  async metrics(): Promise<Metrics> {
    return fromWire<Metrics>(JSON.parse(await this.#caller.run({}, () => this.#native.metrics())))
  }

  /** What the models in this process did and hold, by their names: load, cache hits, tokens a second, memory. */
  async localStatistics(options: CallOptions = {}): Promise<Record<string, LocalStatistics>> {
    type Reply = { models: Record<string, LocalStatistics> }
    return (await this.#caller.ask<Reply>('router', 'local_statistics', {}, options)).models
  }

  /** How every engine is, by name. */
  async health(options: CallOptions = {}): Promise<Record<string, Health>> {
    return JSON.parse(await this.#caller.run(options, (call, cancel) => this.#native.health(call, cancel)))
  }

  /** Events from now on. */
  events(options: { signal?: AbortSignal } = {}): EventStream {
    return new EventStream(this.#native, options.signal)
  }

  /** Adds a chat model, or puts it in the place of the one with its id. */
  registerModel(model: ChatModel): void {
    guarded(() => this.#native.registerModel(profileText(model.profile), chatCallback(this.#scopes, model)))
  }

  /** Sets the embedder. */
  setEmbedder(embedder: Embedder): void {
    guarded(() => this.#native.setEmbedder(profileText(embedder.profile), embedderCallback(this.#scopes, embedder)))
  }

  /** Has `route` choose the models from now on: it is given the request and the models that meet its needs, and answers
   * the names of those to try, best first. Requests on their way keep the models they have. */
  setRouter(route: Route): void {
    guarded(() => this.#native.setRouter(routerCallback(this.#scopes, route)))
  }

  /** Sets the reranker, which reads the best hits of a query that asks for it (`rerank: 20`). */
  setReranker(reranker: Reranker): void {
    guarded(() => this.#native.setReranker(reranker.name, rerankerCallback(this.#scopes, reranker)))
  }

  /** Adds a function: the body of tasks, or a tool. */
  registerFunction(spec: FunctionSpec | string, run: HostFunction): void {
    this.#functions.register(typeof spec === 'string' ? { name: spec } : spec, run)
  }

  /** Adds an engine. */
  registerEngine(engine: HostEngine): void {
    const call = functionCallback(this.#scopes, (request, context) => engine.call(request, context))
    guarded(() => this.#native.registerEngine(engine.name, call))
  }

  /** Adds a gate. */
  registerGate(gate: HostGate): void {
    guarded(() => this.#native.registerGate(gate.name, gateCallback(this.#scopes, gate)))
  }

  /**
   * Goes by other settings of `models`, `imageModel`, `discover` and `router` from now on: models, their keys and prices,
   * budgets, policies. No request is dropped; those on their way keep the models they have. `config` holds all settings, or
   * is the path of a TOML file, as for `open`: refused when others than these differ from those that the folder was opened
   * with. Models of yours stay.
   */
  async reload(config: Config | string): Promise<void> {
    const [json, file] = typeof config === 'string' ? [undefined, config] : [JSON.stringify(toWire(config)), undefined]
    try {
      await this.#native.reload(json, file)
    } catch (error) {
      throw fromNative(error)
    }
  }

  /**
   * Copies the folder, as it is at this moment, into another one that has no store, while it is used. `triune restore` puts it
   * back.
   */
  async backup(to: string, options: CallOptions = {}): Promise<void> {
    await this.#caller.folder('backup', { to }, options)
  }

  /**
   * Stops what still runs, waits for it and closes the folder. What was interrupted can go on when the folder is
   * opened again. Closing twice does nothing; any other call on a
   * closed Triune fails with a `CancelledError`.
   */
  async close(): Promise<void> {
    await this.#native.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
