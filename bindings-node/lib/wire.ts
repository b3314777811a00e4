/**
 * The one place where names and money change between JavaScript (`maxTokens`, dollars) and the engine (`max_tokens`,
 * nano-dollars). What belongs to the user (metadata, inputs, results, schemas) passes as it is.
 */

type Json = Record<string, unknown>

/** Fields whose content belongs to the user, or has the form of the engine already. */
const OPAQUE = new Set([
  'arguments',
  'context',
  'extra_content',
  'filter',
  'input',
  'metadata',
  'parameters',
  'request',
  'results',
  'schema',
  'value',
])

/** Fields that hold an object whose keys are names of the user, or of events and errors. */
const KEYED = new Set(['events', 'failures', 'models', 'outcomes', 'tasks'])

/** Fields of the engine that hold nano-dollars. */
const MONEY = new Set([
  'cost',
  'held',
  'left_out_cost',
  'limit',
  'max_cost',
  'reference_cost',
  'replayed_cost',
  'saved',
  'soft',
  'spent',
  'taken',
  'wasted',
])

/** Settings of budgets, which are dollars in the engine too. */
const DOLLARS = new Set(['limit_usd', 'soft_usd'])

export const NANO = 1_000_000_000

/** Remembers what `change` made of a name: replies have few names, and a thousand times the same ones. */
function remembered(change: (name: string) => string): (name: string) => string {
  const known = new Map<string, string>()
  return (name) => {
    let changed = known.get(name)
    if (changed === undefined) known.set(name, (changed = change(name)))
    return changed
  }
}

// `1h` is an hour: a word of its own.
const toSnake = remembered((name) => name.replace(/[A-Z]|(?<=[a-z])1h/g, (word) => `_${word.toLowerCase()}`))
const toCamel = remembered((name) => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()))

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)

/** Nano-dollars for dollars. */
export const nanoUsd = (usd: number): number => Math.round(usd * NANO)

const mapValues = (object: Json, map: (value: unknown) => unknown): Json =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value)]))

/** The form of the engine. */
export function toWire(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return Array.from(value as Float32Array)
  if (Array.isArray(value)) return value.map(toWire)
  if (value instanceof Date) return value.toISOString()
  if (!isObject(value)) return value
  const wire: Json = {}
  for (const [key, inner] of Object.entries(value)) {
    if (inner === undefined) continue
    const name = toSnake(key)
    const money = /^(.+?)_(nano_)?usd$/.exec(name)
    if (money?.[1] && MONEY.has(money[1]) && !DOLLARS.has(name)) {
      // The exact amount goes before the rounded one where a reply is handed in again.
      if (money[2]) wire[money[1]] = inner
      else wire[money[1]] ??= nanoUsd(inner as number)
    } else if (name === 'price' && isObject(inner)) {
      wire[name] = priceToWire(inner)
    } else if (OPAQUE.has(name)) {
      wire[name] = inner
    } else if (KEYED.has(name) && isObject(inner)) {
      wire[name] = mapValues(inner, toWire)
    } else {
      wire[name] = toWire(inner)
    }
  }
  return wire
}

/** The form of JavaScript. Fields without a value are left out. */
export function fromWire<T>(value: unknown): T {
  return fromWireUntyped(value) as T
}

function fromWireUntyped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromWireUntyped)
  if (!isObject(value)) return value
  const own: Json = {}
  for (const [name, inner] of Object.entries(value)) {
    if (OPAQUE.has(name)) {
      own[toCamel(name)] = inner
    } else if (inner === null) {
      continue
    } else if (MONEY.has(name) && typeof inner === 'number') {
      own[`${toCamel(name)}Usd`] = inner / NANO
      own[`${toCamel(name)}NanoUsd`] = inner
    } else if (name === 'price' && isObject(inner)) {
      own[name] = priceFromWire(inner)
    } else if (KEYED.has(name) && isObject(inner)) {
      own[toCamel(name)] = mapValues(inner, fromWireUntyped)
    } else {
      own[toCamel(name)] = fromWireUntyped(inner)
    }
  }
  return own
}

/** Entries of a list that are brought into the form of JavaScript in one turn of the event loop. */
const IN_ONE_TURN = 100

/** The next turn of the event loop. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** As `fromWire`, a part of a long list at a time, so that others have their turns between. */
export async function fromWireInTurns<T>(value: unknown): Promise<T> {
  if (Array.isArray(value)) return (await listInTurns(value)) as T
  if (!isObject(value)) return fromWire<T>(value)
  const own: Json = {}
  for (const [name, inner] of Object.entries(value)) {
    if (Array.isArray(inner) && inner.length > IN_ONE_TURN && !OPAQUE.has(name)) {
      own[toCamel(name)] = await listInTurns(inner)
    } else {
      Object.assign(own, fromWireUntyped({ [name]: inner }))
    }
  }
  return own as T
}

/** Items for the memory on their way: JSON lists without the vectors, all vectors one after the other, and how long
 * each item's is (0 for none). */
export interface WireItems {
  parts: string[]
  vectors: Float32Array
  lengths: Uint32Array
}

type WithVector = { vector?: ArrayLike<number> | undefined }

/** The vector of an item that need not cross as JSON. What is none is left there, to be refused by the engine. */
function vectorOf(item: WithVector | null): ArrayLike<number> | undefined {
  const vector = item?.vector
  const isVector = Array.isArray(vector) || (ArrayBuffer.isView(vector) && !(vector instanceof DataView))
  return isVector && (vector as ArrayLike<number>).length > 0 ? vector : undefined
}

/** Brings items into the form of the engine, a part at a time, so that others have their turns between. */
export async function itemsInTurns(items: WithVector[]): Promise<WireItems> {
  const lengths = Uint32Array.from(items, (item) => vectorOf(item)?.length ?? 0)
  const vectors = new Float32Array(lengths.reduce((sum, length) => sum + length, 0))
  const parts: string[] = []
  let end = 0
  for (let at = 0; at < items.length; at += IN_ONE_TURN) {
    if (at > 0) await turn()
    const part = items.slice(at, at + IN_ONE_TURN).map((item) => {
      const vector = vectorOf(item)
      if (!vector) return item
      vectors.set(vector, end)
      end += vector.length
      return { ...item, vector: undefined }
    })
    parts.push(JSON.stringify(toWire(part)))
  }
  return { parts, vectors, lengths }
}

async function listInTurns(list: unknown[]): Promise<unknown[]> {
  const own: unknown[] = []
  for (let at = 0; at < list.length; at += IN_ONE_TURN) {
    if (at > 0) await turn()
    for (const entry of list.slice(at, at + IN_ONE_TURN)) own.push(fromWireUntyped(entry))
  }
  return own
}

/** Prices have other prices in them: of longer requests, and by how a call is served. */
const priceToWire = (price: Json): Json =>
  Object.fromEntries(
    Object.entries(price)
      .filter(([, inner]) => inner !== undefined)
      .map(([key, inner]) => {
        if (key.endsWith('Usd')) return [toSnake(key.slice(0, -3)), nanoUsd(inner as number)]
        if (Array.isArray(inner)) return [key, inner.map(priceToWire)]
        return [toSnake(key), isObject(inner) ? priceToWire(inner) : inner]
      }),
  )

const priceFromWire = (price: Json): Json =>
  Object.fromEntries(
    Object.entries(price).map(([key, inner]) => {
      if (Array.isArray(inner)) return [key, inner.map(priceFromWire)]
      if (isObject(inner)) return [key, priceFromWire(inner)]
      return key === 'tokens' ? [key, inner] : [`${toCamel(key)}Usd`, (inner as number) / NANO]
    }),
  )
