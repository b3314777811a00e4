/** What recall is asked and answers. */

import type { Metadata } from './types.js'

/** A condition on metadata. */
export type Filter =
  | { eq: [key: string, value: unknown] }
  | { in: [key: string, values: unknown[]] }
  | { prefix: [key: string, prefix: string] }
  | { range: { key: string; min?: number; max?: number } }
  | { exists: string }
  | { and: Filter[] }
  | { or: Filter[] }
  | { not: Filter }

/** Knowledge to keep. */
export interface NewItem {
  content: string
  metadata?: Metadata
  /** Keeps knowledge apart. Default `default`. */
  namespace?: string
  /** A known id puts the new text in the place of the old. Default: a fresh one. */
  id?: string
  /** Embedded when absent. A text with a vector is found as a whole, however long it is. */
  vector?: number[] | Float32Array
  /** The conversation or document it is part of: items of a session help each other to be found. */
  session?: string
  /** Who said it. A question that names the speaker finds it sooner. */
  speaker?: string
  /** Since when it is true. */
  validFrom?: Time
  /** Until when it is true, itself not included. */
  validTo?: Time
  /** Milliseconds until it is forgotten. */
  ttlMs?: number
  /** How much it matters, 0 to 1. */
  importance?: number
  /** Relations it tells of; `from` is the item where it is left out. */
  relations?: { from?: string; kind: string; to: string; weight?: number }[]
  /** The id of what is true no more, since this item says it anew: it gets an end, and stays in the history. */
  supersedes?: string
  /** What becomes of it when its text is there already under another id. Default `keep`. */
  duplicates?: 'keep' | 'merge' | 'refuse'
}

/** A time: a Date, milliseconds since 1970, or an ISO date or date and time (in UTC without a zone). */
export type Time = Date | number | string

/** A stored item. Times are ISO texts. */
export interface Item {
  id: string
  text: string
  metadata: Metadata
  namespace: string
  storedMs: number
  /** Whether the embedder read only its beginning. */
  truncated: boolean
  /** The conversation or document it is part of. */
  session?: string
  /** Who said it. */
  speaker?: string
  /** Since when it is true. */
  validFrom?: string
  /** Until when it is true, itself not included. */
  validTo?: string
  /** When it is forgotten. */
  expires?: string
  /** How much it matters, 0 to 1. */
  importance?: number
  /** The id of what it says anew. */
  supersedes?: string
  /** The id of what says it anew. */
  supersededBy?: string
  /** The id of the item whose text is the same, or nearly. */
  duplicateOf?: string
}

/** A version of an item. */
export interface ItemVersion extends Item {
  /** When another one took its place; absent for the one there is. */
  replaced?: string
}

/** An item that was found. */
export interface Hit extends Item {
  /** Higher is better; comparable within one answer only. */
  score: number
  /** What the score is made of. */
  why: {
    /** Cosine of query and item. */
    meaning?: number
    /** BM25 of the query's words in the item. */
    words?: number
    /** The words shared, stemmed. */
    terms: string[]
    /** The score that meaning and words gave, where a reranker gave another. */
    fused?: number
    /** What else was added to the score, by name: `neighbours`, `speaker`, `time`, `phrase`, `importance`, `decay`, `graph`. */
    boosts?: Record<string, number>
  }
  /** Where in the text of a long item the passage is that was found, in bytes of UTF-8; its text is then `text`. */
  passage?: { start: number; end: number }
}

/** The best passages for a prompt. */
export interface RecallContext {
  /** The passages, one after the other, each below a line that names its source. */
  text: string
  /** About how many tokens it has. */
  tokens: number
  /** What is in it, best first. */
  hits: Hit[]
}

/** What was written by an export. */
export interface ExportReport {
  namespaces: number
  items: number
  /** Versions of items that were replaced. */
  versions: number
  relations: number
}

/** What was read by an import. */
export interface ImportReport {
  /** Items that were stored. */
  stored: number
  /** Items that were there already, just as in the file. */
  unchanged: number
  /** Items of those stored whose vector was taken from the file. */
  vectors: number
  /** Versions of items that were replaced. */
  versions: number
  /** Relations, those that were there already too. */
  relations: number
}

/** What a namespace holds, and how much room that takes. */
export interface NamespaceStatistics {
  /** Whose it is; empty for none. */
  tenant: string
  namespace: string
  items: number
  /** Vectors: of items, and of passages of long ones. */
  vectors: number
  /** Length of the vectors; 0 when there are none. */
  dimensions: number
  /** What made the vectors. */
  embedder?: string
  relations: number
  /** Different words. */
  terms: number
  /** Different people, places and things that texts mention, by rules. */
  entities: number
  /** Bytes by what they are of: `items`, `history`, `vectors`, `words`, `facts`, `relations`, `index`. */
  bytes: Record<string, number>
  /** When the oldest item was stored, in milliseconds since the Unix epoch. */
  oldestMs?: number
  /** When the newest item was stored. */
  newestMs?: number
  index: IndexStatistics
  /** How far embedding its texts by another embedder is; absent when that is not under way. */
  reembedding?: Reembedding
  /** Items it may hold; absent for no limit. */
  maxItems?: number
  /** Bytes it may hold; absent for no limit. */
  maxBytes?: number
}

/** Which index serves a namespace, and how far it is. */
export interface IndexStatistics {
  /** `exact` (all are compared), `scan`, `ivf` or `arroy`. */
  kind: string
  /** Vectors that have a code; the others are compared exactly. */
  coded: number
  /** Whether something of it is to be built in the background, or is being built. */
  due: boolean
}

/** How far embedding the texts of a namespace by another embedder is. */
export interface Reembedding {
  embedder: string
  /** Texts, and passages of long ones, that it has embedded. */
  done: number
  /** Those there are. */
  of: number
}

/** A kept relation. */
export interface Relation {
  from: string
  kind: string
  to: string
  weight: number
}

/** Something near something else. */
export interface Neighbour {
  name: string
  hops: number
  relation: Relation
}
