import { withoutCall, type Caller } from './call.js'
import type {
  CallOptions,
  ExportReport,
  Filter,
  Hit,
  ImportReport,
  Item,
  ItemVersion,
  NamespaceStatistics,
  Neighbour,
  NewItem,
  RecallContext,
  Relation,
  Time,
} from './types.js'

export interface StoreOptions extends CallOptions, Omit<NewItem, 'content'> {}

export interface QueryOptions extends CallOptions {
  /** Hits wanted at most, 1 to 1,000. Default 10. */
  k?: number
  /** Only items whose metadata meets it. */
  filter?: Filter
  /** Where to look. Default `default`. */
  namespace?: string
  /** The vector of the query; embedded when absent. */
  vector?: number[] | Float32Array
  /** So many of the best items, and at least `k`, are read by the reranker, whose scores then decide. Default 0: none. */
  rerank?: number
  /** Only items of this session. */
  session?: string
  /** Only items of this speaker. */
  speaker?: string
  /** What was true at this time. Default: at the time of `asOf`, or now. */
  validAt?: Time
  /** What was known at this time. */
  asOf?: Time
  /** Also what is true no more, or not yet. */
  includeEnded?: boolean
  /** How much hits are to differ from each other, 0 to 1. Default 0. */
  diversity?: number
  /** Milliseconds after which an item has lost half of what age can take: a fifth of its score. */
  halfLifeMs?: number
}

export interface ForgetOptions extends CallOptions {
  namespace?: string
  /** These. */
  ids?: string[]
  /** And all that meet it. */
  filter?: Filter
  /** And all there are. */
  all?: boolean
}

export interface NeighboursOptions extends CallOptions {
  namespace?: string
  /** Only relations of this kind. */
  kind?: string
  /** Steps away at most, 1 to 5. Default 1. */
  hops?: number
  /** At most this many. Default 10. */
  k?: number
}

/** The memory. */
export class Recall {
  readonly #caller: Caller

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller
  }

  /** Keeps knowledge; answers its id once it is on disk. */
  async store(content: string, options: StoreOptions = {}): Promise<string> {
    const request = { content, ...withoutCall(options) }
    return (await this.#caller.ask<{ id: string }>('recall', 'store', request, options)).id
  }

  /** Keeps much knowledge in one transaction; answers the ids in order. */
  async storeMany(items: (string | NewItem)[], options: CallOptions = {}): Promise<string[]> {
    return this.#caller.storeMany(
      items.map((item) => (typeof item === 'string' ? { content: item } : item)),
      options,
    )
  }

  /** Finds knowledge, best first. */
  async query(query: string, options: QueryOptions = {}): Promise<Hit[]> {
    const { k, ...rest } = withoutCall(options)
    return (await this.#caller.ask<{ hits: Hit[] }>('recall', 'query', { query, top: k, ...rest }, options)).hits
  }

  /** The best passages for a prompt, of `tokenBudget` tokens at most (about: a token is taken for four characters). */
  async context(query: string, tokenBudget: number, options: QueryOptions = {}): Promise<RecallContext> {
    const { k = 20, ...rest } = withoutCall(options)
    const request = { query: { query, top: k, ...rest }, tokenBudget }
    return this.#caller.ask<RecallContext>('recall', 'context', request, options)
  }

  /** All versions of an item, and of what it says anew or is said anew by, the oldest first. */
  async history(id: string, options: CallOptions & { namespace?: string } = {}): Promise<ItemVersion[]> {
    const request = { id, ...withoutCall(options) }
    return (await this.#caller.ask<{ versions: ItemVersion[] }>('recall', 'history', request, options)).versions
  }

  /** Reads one item; undefined when there is none. */
  async get(id: string, options: CallOptions & { namespace?: string } = {}): Promise<Item | undefined> {
    const request = { id, ...withoutCall(options) }
    return (await this.#caller.ask<{ item?: Item }>('recall', 'get', request, options)).item
  }

  /** Forgets; answers how many items. */
  async forget(options: ForgetOptions): Promise<number> {
    const { forgotten } = await this.#caller.ask<{ forgotten: number }>(
      'recall',
      'forget',
      withoutCall(options),
      options,
    )
    return forgotten
  }

  /** Keeps a relation between names or ids of items; answers whether it is new. */
  async relate(
    from: string,
    kind: string,
    to: string,
    options: CallOptions & { namespace?: string; weight?: number } = {},
  ): Promise<boolean> {
    const request = { from, kind, to, ...withoutCall(options) }
    return (await this.#caller.ask<{ new: boolean }>('recall', 'relate', request, options)).new
  }

  /** What is near, nearest first. */
  async neighbours(of: string, options: NeighboursOptions = {}): Promise<Neighbour[]> {
    const { k, ...rest } = withoutCall(options)
    const request = { of, top: k, ...rest }
    return (await this.#caller.ask<{ neighbours: Neighbour[] }>('recall', 'neighbours', request, options)).neighbours
  }

  /** A shortest way between two names, of at most `hops` steps (1 to 5, default 5); undefined when there is none. */
  async path(
    from: string,
    to: string,
    options: CallOptions & { namespace?: string; hops?: number } = {},
  ): Promise<Relation[] | undefined> {
    const request = { from, to, ...withoutCall(options) }
    return (await this.#caller.ask<{ path?: Relation[] }>('recall', 'path', request, options)).path
  }

  /** The `k` names nearest to `seeds` by personalised PageRank, with their rank; the ranks of all sum to 1. */
  async rank(
    seeds: string[],
    options: CallOptions & { namespace?: string; k?: number } = {},
  ): Promise<[string, number][]> {
    const { k, ...rest } = withoutCall(options)
    const request = { seeds, top: k, ...rest }
    return (await this.#caller.ask<{ ranked: [string, number][] }>('recall', 'rank', request, options)).ranked
  }

  /** The relations among a name and the `k` names near it, the strongest first. */
  async subgraph(of: string, options: NeighboursOptions = {}): Promise<Relation[]> {
    const { k, ...rest } = withoutCall(options)
    const request = { of, top: k, ...rest }
    return (await this.#caller.ask<{ relations: Relation[] }>('recall', 'subgraph', request, options)).relations
  }

  /**
   * What a namespace holds, and how much room that takes. All of its rows are passed by: a second for a million or so.
   * Rejects with NotFoundError for an unknown one.
   */
  async statistics(options: CallOptions & { namespace?: string } = {}): Promise<NamespaceStatistics> {
    const request = withoutCall(options)
    return (await this.#caller.ask<{ statistics: NamespaceStatistics }>('recall', 'statistics', request, options)).statistics
  }

  /**
   * Embeds all texts of a namespace by the embedder there is, in the place of the one that made its vectors; says how many.
   * Until they are all embedded it is found by its words. Interrupted, it goes on where it was when it is called again;
   * `statistics` tell how far it is.
   */
  async reembed(options: CallOptions & { namespace?: string } = {}): Promise<number> {
    const request = withoutCall(options)
    return (await this.#caller.ask<{ reembedded: number }>('recall', 'reembed', request, options)).reembedded
  }

  /**
   * Writes a namespace, or all of the tenant's, into a file: a line of JSON for each item, version and relation, as they are at
   * this moment. With `vectors`, reading them in again embeds nothing.
   */
  async export(
    path: string,
    options: CallOptions & { namespace?: string; vectors?: boolean } = {},
  ): Promise<ExportReport> {
    return this.#caller.folder<ExportReport>('export', { to: path, ...withoutCall(options) }, options)
  }

  /**
   * Reads lines of JSON in from a file, as `export` writes them or as `store` takes them, all into `namespace` when it is given.
   * What is there just so is left alone: an import that was interrupted is simply made again.
   */
  async import(path: string, options: CallOptions & { namespace?: string } = {}): Promise<ImportReport> {
    return this.#caller.folder<ImportReport>('import', { from: path, ...withoutCall(options) }, options)
  }

  /** The namespaces there are, those of the tenant of the call. */
  async namespaces(options: CallOptions = {}): Promise<string[]> {
    return (await this.#caller.ask<{ namespaces: string[] }>('recall', 'namespaces', {}, options)).namespaces
  }
}
