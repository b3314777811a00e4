/** Loads the native half of the package and says what it offers. Private: nothing here is part of the public surface. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** The call that code of the program works for. */
export type NativeScope = object

/** A function that the engine calls: `question` and `scope` are null when the turn was given up. */
export type NativeCallback<R> = (turn: number, question: string | null, scope: NativeScope | null) => Promise<R>

export interface NativeCancel {
  abort(): void
}

export interface NativePieces {
  next(): Promise<string | null>
  close(): void
}

export interface NativeEvents {
  close(): void
}

export interface NativeEmbedded {
  vectors: Float32Array
  count: number
  truncated: boolean[]
  embedder: string
}

export interface NativeMind {
  cancel(scope?: NativeScope): NativeCancel
  folder(request: string, options: string | undefined, cancel: NativeCancel): Promise<string>
  call(engine: string, request: string, options: string | undefined, cancel: NativeCancel): Promise<string>
  stream(request: string, options: string | undefined, cancel: NativeCancel): Promise<NativePieces>
  embed(texts: string[], query: boolean, options: string | undefined, cancel: NativeCancel): Promise<NativeEmbedded>
  storeMany(
    items: string[],
    vectors: Float32Array,
    lengths: Uint32Array,
    options: string | undefined,
    cancel: NativeCancel,
  ): Promise<string>
  metrics(): Promise<string>
  health(options: string | undefined, cancel: NativeCancel): Promise<string>
  events(listener: (batch: string) => void): NativeEvents
  registerModel(profile: string, callback: NativeCallback<string>): void
  setEmbedder(profile: string, callback: NativeCallback<Float32Array>): void
  setRouter(callback: NativeCallback<string>): void
  setReranker(name: string, callback: NativeCallback<Float64Array>): void
  registerFunction(spec: string, callback: NativeCallback<string>): void
  unregisterFunction(name: string): void
  registerEngine(name: string, callback: NativeCallback<string>): void
  registerGate(name: string, callback: NativeCallback<string>): void
  reload(json: string | undefined, file: string | undefined): Promise<void>
  close(): Promise<void>
}

export interface NativeOpening {
  config(json: string): void
  configFile(path: string): void
  model(profile: string, callback: NativeCallback<string>): void
  embedder(profile: string, callback: NativeCallback<Float32Array>): void
  open(): Promise<NativeMind>
}

interface Native {
  Opening: new (url: string) => NativeOpening
  version(): string
  cli(program: string[], args: string[]): number
}

const root = join(__dirname, '..')

function load(): Native {
  const file = join(root, 'native.node')
  const platform = `${process.platform}-${process.arch}`
  if (!existsSync(file)) {
    throw new Error(
      `triune has no binary for ${platform} in ${root}. Build it there with "npm run build"; ` +
        'that needs Rust (https://rustup.rs) and a C compiler.',
    )
  }
  try {
    return require(file) as Native
  } catch (cause) {
    throw new Error(
      `the binary of triune in ${root} does not load on ${platform}: it was built for another machine. ` +
        'Build it anew there with "npm run build"; that needs Rust (https://rustup.rs) and a C compiler.',
      { cause },
    )
  }
}

export const native: Native = load()
