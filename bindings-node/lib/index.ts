/** triune: an AI engine that lives inside an application. */
import { native } from './native.js'

export {
  CancelledError,
  CircuitOpenError,
  ConflictError,
  ContextLengthError,
  CorruptError,
  HostError,
  InvalidError,
  NotFoundError,
  OverBudgetError,
  OverloadedError,
  RateLimitedError,
  RejectedError,
  TimedOutError,
  TriuneError,
  UnauthorizedError,
  UnavailableError,
  UnexpectedError,
  UnsupportedError,
  type ErrorCode,
  type TriuneErrorOptions,
} from './errors.js'
export { Team, type CheckOptions, type LedgerOptions, type SolveOptions, type TeamOptions } from './engines.js'
export { EventStream } from './events.js'
export type {
  ChatAnswer,
  ChatModel,
  ChatPiece,
  ChatRequest,
  Embedder,
  HostContext,
  HostEngine,
  HostFunction,
  HostGate,
  ModelState,
  Reranker,
  Route,
  RouteRequest,
} from './host.js'
export type { RunOptions } from './parallel.js'
export type { ForgetOptions, NeighboursOptions, QueryOptions, StoreOptions } from './recall.js'
export { TextStream } from './stream.js'
export { RunReport, Task, type TaskOptions } from './task.js'
export { Triune, type DescribedFunction, type EmbedOptions, type OpenOptions } from './triune.js'
export type * from './types.js'

/** The version of the engine. */
export const version: string = native.version()
