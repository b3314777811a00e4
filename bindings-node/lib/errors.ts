/** The errors of triune: one class for each code. */

/** What a program can do about an error. The same codes exist in Rust, Python and HTTP. */
export type ErrorCode =
  | 'INVALID'
  | 'NOT_FOUND'
  | 'CONFLICT'
  | 'UNSUPPORTED'
  | 'UNAUTHORIZED'
  | 'RATE_LIMITED'
  | 'OVERLOADED'
  | 'TIMEOUT'
  | 'CANCELLED'
  | 'OVER_BUDGET'
  | 'CIRCUIT_OPEN'
  | 'REJECTED'
  | 'CONTEXT_LENGTH'
  | 'CORRUPT'
  | 'UNAVAILABLE'
  | 'HOST'
  | 'UNEXPECTED'

export interface TriuneErrorOptions extends ErrorOptions {
  /** Whether the same call may succeed later. Default: as is usual for the code. */
  retryable?: boolean
  /** The operation that failed. */
  operation?: string
  /** Facts about the failure. */
  context?: Record<string, string>
}

/**
 * An error of triune. A model, function, engine or gate of yours may throw one too: the engine then sees its code, and
 * tries again, or another model, where that helps.
 */
export class TriuneError extends Error {
  static readonly code: ErrorCode = 'UNEXPECTED'
  static readonly retryable: boolean = false

  /** What to do about it. */
  readonly code: ErrorCode
  /** Whether the same call may succeed later. */
  readonly retryable: boolean
  /** The operation that failed, or an empty text. */
  readonly operation: string
  /** Facts about the failure. */
  readonly context: Readonly<Record<string, string>>

  constructor(message: string, options: TriuneErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.name = new.target.name
    this.code = new.target.code
    this.retryable = options.retryable ?? new.target.retryable
    this.operation = options.operation ?? ''
    this.context = { ...options.context }
  }
}

/** The request cannot be right: mend it and call again. */
export class InvalidError extends TriuneError {
  static override readonly code = 'INVALID'
}
/** What was named does not exist. */
export class NotFoundError extends TriuneError {
  static override readonly code = 'NOT_FOUND'
}
/** What was to be made exists already, or changed since it was read. */
export class ConflictError extends TriuneError {
  static override readonly code = 'CONFLICT'
}
/** This part cannot do that; the message names one that can, or what is missing. */
export class UnsupportedError extends TriuneError {
  static override readonly code = 'UNSUPPORTED'
}
/** A key is missing or was refused. */
export class UnauthorizedError extends TriuneError {
  static override readonly code = 'UNAUTHORIZED'
}
/** The other side asks to slow down. */
export class RateLimitedError extends TriuneError {
  static override readonly code = 'RATE_LIMITED'
  static override readonly retryable = true
}
/** A bounded queue of triune is full. */
export class OverloadedError extends TriuneError {
  static override readonly code = 'OVERLOADED'
  static override readonly retryable = true
}
/** A deadline passed. */
export class TimedOutError extends TriuneError {
  static override readonly code = 'TIMEOUT'
  static override readonly retryable = true
}
/** The caller cancelled, or the Triune was closed. A call that was stopped by your `AbortSignal` rejects with the signal's reason instead. */
export class CancelledError extends TriuneError {
  static override readonly code = 'CANCELLED'
}
/** The budget does not cover the call; nothing was spent on it. */
export class OverBudgetError extends TriuneError {
  static override readonly code = 'OVER_BUDGET'
}
/** The part failed too often and is left alone for a while. */
export class CircuitOpenError extends TriuneError {
  static override readonly code = 'CIRCUIT_OPEN'
  static override readonly retryable = true
}
/** A gate or a guard refused what was generated. */
export class RejectedError extends TriuneError {
  static override readonly code = 'REJECTED'
}
/** The request is longer than the model's context. */
export class ContextLengthError extends TriuneError {
  static override readonly code = 'CONTEXT_LENGTH'
}
/** Stored bytes are not what was written, or a file is not what it claims to be. */
export class CorruptError extends TriuneError {
  static override readonly code = 'CORRUPT'
}
/** The network, a server or a process is not there right now. */
export class UnavailableError extends TriuneError {
  static override readonly code = 'UNAVAILABLE'
  static override readonly retryable = true
}
/** Code of the program answered what it must not. What it throws comes back as the same object instead. */
export class HostError extends TriuneError {
  static override readonly code = 'HOST'
}
/** A fault of triune itself: please report it. */
export class UnexpectedError extends TriuneError {
  static override readonly code = 'UNEXPECTED'
}

const BY_CODE: ReadonlyMap<string, typeof TriuneError> = new Map(
  [
    InvalidError,
    NotFoundError,
    ConflictError,
    UnsupportedError,
    UnauthorizedError,
    RateLimitedError,
    OverloadedError,
    TimedOutError,
    CancelledError,
    OverBudgetError,
    CircuitOpenError,
    RejectedError,
    ContextLengthError,
    CorruptError,
    UnavailableError,
    HostError,
    UnexpectedError,
  ].map((type) => [type.code, type]),
)

/**
 * What a promise of a user's part is rejected with: the native half reads its message and keeps the object, so that the
 * user's own error comes back as it was thrown.
 *
 * @internal
 */
export class HostFailure extends Error {
  constructor(readonly thrown: unknown) {
    // napi reads the message of an `Error`, and of nothing else.
    super(HostFailure.#describe(thrown))
  }

  static #describe(thrown: unknown): string {
    if (thrown instanceof TriuneError) {
      return JSON.stringify({ code: thrown.code, message: thrown.message, retryable: thrown.retryable })
    }
    const words = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : 'what it threw is no Error'
    return JSON.stringify({ message: `code of the program failed: ${words}` })
  }
}

/** How the native half tells of an error, see `src/error.rs`. */
interface Envelope {
  code: string
  message: string
  retryable: boolean
  operation: string
  context: Record<string, string>
}

/**
 * The error to throw for one of the native half.
 *
 * @internal
 */
export function fromNative(error: unknown): unknown {
  if (error instanceof HostFailure) return error.thrown
  if (!(error instanceof Error)) return error
  let envelope: Partial<Envelope>
  try {
    envelope = JSON.parse(error.message)
  } catch {
    return error
  }
  const type = BY_CODE.get(envelope?.code ?? '')
  if (!type) return error
  const { message, retryable, operation, context } = envelope as Envelope
  const facts = Object.entries(context).map(([name, value]) => `${name}=${value}`)
  if (operation) facts.unshift(`during ${operation}`)
  const mended = new type(facts.length ? `${message} (${facts.join(', ')})` : message, { retryable, operation, context })
  Error.captureStackTrace(mended, fromNative)
  return mended
}

/**
 * Runs what calls the native half at once.
 *
 * @internal
 */
export function guarded<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw fromNative(error)
  }
}
