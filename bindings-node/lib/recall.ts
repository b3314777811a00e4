import { withoutCall, type Caller } from './call.js'
import type { CallOptions, Filter, Hit, Item, Neighbour, NewItem } from './types.js'

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

  /** The namespaces there are. */
  async namespaces(options: CallOptions = {}): Promise<string[]> {
    return (await this.#caller.ask<{ namespaces: string[] }>('recall', 'namespaces', {}, options)).namespaces
  }
}
