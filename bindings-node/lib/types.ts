/** What calls are asked and answer. Times are milliseconds and end in `Ms`; money is in dollars and ends in `Usd`. */

export type * from './recall-types.js'

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** A JSON schema. */
export type JsonSchema = Record<string, unknown>

/** Facts about an item; your own keys and values. */
export type Metadata = Record<string, unknown>

/** Options that every call takes. */
export interface CallOptions {
  /** Stops the work; the call rejects with the signal's reason. */
  signal?: AbortSignal
  /** Longest time for the call. Default: no limit. */
  timeoutMs?: number
  /** Who the call is for: caches, budgets and ledgers keep tenants apart. */
  tenant?: string
  /** The most the call may spend, in dollars. Default: no limit. */
  budgetUsd?: number
  /** Which of the calls that wait for the same local model goes first. Default `normal`. Nobody waits forever: 10 seconds
   * of waiting count as one priority higher. */
  priority?: Priority
}

export type Priority = 'interactive' | 'normal' | 'background'

// Models ------------------------------------------------------------------------------------------------------------

/** Dollars for a million tokens, by their kinds. */
export interface TokenPrice {
  /** Tokens read. */
  inputUsd?: number
  /** Tokens written. */
  outputUsd?: number
  /** Tokens read from the provider's cache. Default: as `inputUsd`. */
  cachedUsd?: number
  /** Tokens put into the provider's cache for some minutes. Default: as `inputUsd`. */
  cacheWriteUsd?: number
  /** Tokens put into the provider's cache for an hour or longer. Default: as `cacheWriteUsd`. */
  cacheWrite1hUsd?: number
  /** Tokens of thought. Default: as `outputUsd`. */
  reasoningUsd?: number
}

/** What a model costs. */
export interface Price extends TokenPrice {
  /** Tokens of images read. Default: as `inputUsd`. */
  imageInputUsd?: number
  /** Tokens of images written. Default: as `outputUsd`. */
  imageOutputUsd?: number
  /** One image made, beside its tokens. Default: nothing. */
  perImageUsd?: number
  /** What requests of more than so many `tokens` cost. Default: no more. */
  above?: (TokenPrice & { tokens: number })[]
  /** What calls in a batch cost. Default: the same. */
  batch?: Price
  /** What calls cost that are served when there is room. Default: the same. */
  flex?: Price
  /** What calls cost that are served before others. Default: the same. */
  priority?: Price
}

/** What a model can do beyond text. Default: nothing. */
export interface Capabilities {
  tools?: boolean
  jsonSchema?: boolean
  /** Keeps to a regular expression or a grammar. */
  grammar?: boolean
  images?: boolean
  logprobs?: boolean
  /** Reasons before it answers, for as long as it is told. */
  reasoning?: boolean
  /** Takes no temperature, top_p or top_k. */
  fixedSampling?: boolean
}

/** Facts about a model that routing and budgets need. */
export interface ModelProfile {
  /** The name it is routed, priced and reported by. */
  id: string
  /** Tokens of request and answer together, at most. */
  contextLength: number
  /** Whose model it is. Default `host`. */
  provider?: string
  /** Whether prompts stay in this process. Default true. */
  local?: boolean
  /** What it costs. Default: nothing. */
  price?: Price
  /** What it can do. */
  capabilities?: Capabilities
  /** How good its answers are, 0 to 1, as far as known. */
  quality?: number
  /** Time to a usual answer, as far as known. */
  latencyMs?: number
  /** The name of the provider's key that pays for it, never the key itself. */
  key?: string
  /** The day on which its provider ends it, as far as known. */
  ends?: string
  /** Of which day its price is, where it comes from a table. */
  pricedOn?: string
  /** What it may be asked in a minute. */
  rateLimit?: RateLimit
  /** Longest time until it begins to answer, where that is not the router's. */
  firstTokenTimeoutMs?: number
  /** What else its answers depend on: kept answers are given again by the same revision only. */
  revision?: string
}

/** The provider's rate limit of a model, kept to before the provider has to say so. Absent is no limit. */
export interface RateLimit {
  requestsPerMinute?: number
  /** Of requests and of the most their answers may have; what an answer did not use is given back. */
  tokensPerMinute?: number
}

/** One message of a chat. */
export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool'
  content?: string
  /** Images that go with it, as `https:` or `data:` URLs. */
  images?: { url: string }[]
  /** Tools the model called in it. */
  toolCalls?: ToolCall[]
  /** The call it answers (role `tool`). */
  toolCallId?: string
  /** Asks the provider to keep everything up to the end of this message for requests that begin in the same way, for five
   * minutes or an hour from the last use. At most 4 messages of a request. */
  cache?: '5m' | '1h'
}

/** A tool the model wants called. */
export interface ToolCall {
  id: string
  name: string
  arguments: unknown
  /** What its provider wants to have back with it as it came, such as the signature of a thought. */
  extraContent?: unknown
}

/** What a function is called, what it does and what it takes. */
export interface FunctionSpec {
  /** Letters, digits, `_`, `-`, `.`, `:` and `/`, at most 64. */
  name: string
  description?: string
  /** JSON schema of its input. Default: any object. */
  parameters?: JsonSchema
}

/** The form an answer must have. Default: any text. */
export type ResponseFormat =
  | { type: 'text' }
  | { type: 'json_object' }
  | { type: 'json_schema'; name: string; schema: JsonSchema }
  /** Text that the expression matches as a whole; local models only. */
  | { type: 'regex'; pattern: string }
  /** Text that a Lark grammar derives from its rule `start`; local models only. */
  | { type: 'grammar'; lark: string }

/** How the next token is chosen. Absent fields are the model's own defaults. */
export interface Sampling {
  /** 0 takes the likeliest token; 1 samples from the model's distribution. 0 to 2. */
  temperature?: number
  topP?: number
  topK?: number
  minP?: number
  repetitionPenalty?: number
  /** What is added to the scores of tokens, by their numbers in the model that answers: name it in `model`. -100 to 100;
   * -100 rules a token out. */
  logitBias?: Record<number, number>
  /** Makes sampling repeatable. */
  seed?: number
  /** Texts that end the answer; at most 8. */
  stop?: string[]
  /** Tokens to write at most. */
  maxTokens?: number
  /** Log-probabilities wanted, of this many likeliest tokens; at most 20. */
  logprobs?: number
  /** How long the model may reason before it answers; needs the capability `reasoning`, but for `none`. */
  reasoningEffort?: ReasoningEffort
}

/** How long a model that reasons before it answers may do so. */
export type ReasoningEffort = 'none' | 'minimal' | 'low' | 'medium' | 'high'

/** Whether tools are called: as the model likes, none, at least one, or the one of this name. */
export type ToolChoice = 'auto' | 'none' | 'required' | { tool: string }

/** What a model must offer to serve a request. Absent fields ask for nothing. */
export interface Needs {
  /** This model and no other. */
  model?: string
  /** The prompt must not leave this process. */
  localOnly?: boolean
  /** At least this quality, 0 to 1; a model of unknown quality does not qualify. */
  minQuality?: number
  /** The call may cost at most this. */
  maxCostUsd?: number
  /** The model's usual latency may be at most this. */
  maxLatencyMs?: number
  /** Spend this part less than the best single model would, between 0 and 1, and get the best quality that this buys. Over
   * many requests, and only once something was learned: see the setting `router.learning`. */
  targetSaving?: number
  /** Keep this part of the best single model's quality, between 0 and 1, at the least cost. As for `targetSaving`. */
  minRetention?: number
  /** The chance that `minRetention` is kept, between 0 and 1. Default 0.9. */
  confidence?: number
}

/** Options of `generate` and `stream`. */
export interface GenerateOptions extends CallOptions, Needs, Sampling {
  /** Instructions before the prompt. */
  system?: string
  /** Tools the model may call; the caller runs them. */
  tools?: FunctionSpec[]
  /** Whether it calls some. Default `auto`. */
  toolChoice?: ToolChoice
  /** Whether it may call more than one at once. Default: as the model likes. */
  parallelToolCalls?: boolean
  responseFormat?: ResponseFormat
  /** Your name of the task, such as `summarise`: what the router learns, budgets and the ledger go by. 1 to 64 bytes. */
  tag?: string
  /**
   * Answers wanted, 1 to 64; the others are the `alternatives` of the reply. Each is billed for the whole prompt, which a
   * local model reads once. Not for streams. Default 1.
   */
  n?: number
}

/** Tokens read and written. */
export interface Usage {
  inputTokens: number
  /** Tokens of the request that the provider had cached. */
  cachedTokens: number
  /** Tokens of the request that the provider put into its cache for some minutes. */
  cacheWriteTokens: number
  /** Tokens of the request that the provider put into its cache for an hour or longer. */
  cacheWrite1hTokens: number
  /** Tokens of the request that are images. */
  imageInputTokens: number
  /** Tokens of the answer, thoughts included. */
  outputTokens: number
  /** Tokens of the answer that the model thought and did not say. */
  reasoningTokens: number
  /** Tokens of the answer that are images. */
  imageOutputTokens: number
  /** Images made, where images are priced each. */
  images: number
  /** How the provider served the call. */
  tier: 'standard' | 'batch' | 'flex' | 'priority'
}

export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter'

/** The log-probability of one token of the answer. */
export interface TokenLogprob {
  token: string
  logprob: number
  /** The likeliest tokens in its place, likeliest first. */
  top: [token: string, logprob: number][]
}

/** One try of one model. */
export interface Attempt {
  model: string
  /** The error code when it failed. */
  code?: string
  message?: string
  latencyMs: number
}

/** The models to try for a request, and why. */
export interface RoutePlan {
  /** Best first; each further one is a fallback. */
  steps: { model: string; maxCostUsd: number; maxCostNanoUsd: number; reason: string }[]
  /** The others. */
  passedOver: { model: string; reason: string }[]
}

/** Money of one or more calls. `...NanoUsd` is exact up to 9,007 dollars a value; `...Usd` is for display. */
export interface Cost {
  costUsd: number
  costNanoUsd: number
  /** What the same tokens would have cost on the reference model. */
  referenceCostUsd: number
  referenceCostNanoUsd: number
  /** The difference; negative when the reference model would have been cheaper. */
  savedUsd: number
  savedNanoUsd: number
}

/** An answer, and what it took. */
export interface Reply extends Cost {
  /** Identifies the reply in the ledger. */
  id: string
  text: string
  /** Tools the model wants called. */
  toolCalls: ToolCall[]
  /** Log-probabilities, when asked for. */
  logprobs: TokenLogprob[]
  finishReason: FinishReason
  /** The model that answered. */
  model: string
  usage: Usage
  latencyMs: number
  /** Every model tried, failed ones first. */
  attempts: Attempt[]
  /** Why these models, in this order. */
  route: RoutePlan
  /** The other answers, where more than one was asked for, each with what it took. */
  alternatives?: Reply[]
  /** How the answer was found, when it had been given before: no model was asked, and it cost nothing. */
  cacheHit?: 'exact' | 'semantic'
}

export interface ImageOptions extends CallOptions {
  /** Width x height in pixels, such as `1024x1024`. Default: the model's. */
  size?: string
  /** How many, 1 to 10. Default 1. */
  count?: number
}

/** One generated image: the bytes of the file, or where the provider keeps it. */
export interface GeneratedImage {
  /** The bytes of the file; empty when the provider gave an address only. */
  data: Buffer
  url?: string
}

/** Generated images, and what they took. */
export interface ImageReply extends Pick<Cost, 'costUsd' | 'costNanoUsd'> {
  /** Identifies the reply in the ledger. */
  id: string
  /** As many as were asked for. */
  images: GeneratedImage[]
  /** The model that made them. */
  model: string
  /** Tokens read and written, as far as the provider counts them. */
  usage: Usage
  latencyMs: number
}

/** One call in the ledger, or what a failed attempt of one cost. */
export interface LedgerEntry extends Cost, Usage {
  /** The id of the reply; attempts that failed before it have the same. */
  id: string
  atMs: number
  tenant: string
  /** Your name of the task. */
  tag?: string
  model: string
  /** The name of the key that paid, never the key itself. */
  key?: string
  latencyMs: number
  /** Whether it is an attempt without an answer. */
  failed: boolean
  /** Whether the model was asked beside the one that answered, see the setting `router.learning.shadow`; it is `failed` too,
   * since its answer was not given out. */
  shadow?: boolean
  /** Whether the provider did not say what it took. */
  estimated: boolean
  /** What the choice of the model was made from. */
  /** How the answer was found, when it had been given before: no model was asked. */
  cacheHit?: 'exact' | 'semantic'
  decision?: Decision
}

/** What a router decided from. */
export interface Decision {
  request: {
    inputTokens: number
    maxOutputTokens: number
    needs: Needs & Record<string, unknown>
    tag?: string
    /** Whether a budget was past its soft limit. */
    thrifty: boolean
  }
  candidates: {
    model: string
    inputTokens: number
    maxOutputTokens: number
    maxCostUsd: number
    maxCostNanoUsd: number
    quality?: number
    breaker: 'closed' | 'half_open' | 'open'
  }[]
}

/** Which entries of the ledger. Absent fields are for all. */
export interface LedgerFilter {
  /** Of this task. */
  tag?: string
  /** Of this model. */
  model?: string
  /** Paid with the key of this name. */
  key?: string
  /** From this time on, in milliseconds since the Unix epoch. */
  sinceMs?: number
  /** Before this time, in milliseconds since the Unix epoch. */
  untilMs?: number
}

/** Sums over entries of the ledger. Failed attempts are apart, but for their cost. */
export interface LedgerTotals extends Cost {
  /** Calls that were answered. */
  calls: number
  inputTokens: number
  cachedTokens: number
  outputTokens: number
  /** Attempts without an answer that cost something. */
  failed: number
  /** What these cost: part of the cost. */
  wastedUsd: number
  wastedNanoUsd: number
  /** Tokens that these read and wrote; in none of the other sums. */
  wastedTokens: number
}

/** A prompt, and what models made of it. */
export interface JudgedPrompt {
  prompt: string
  /** By the ids of the models. One is enough to learn from; to be compared on, a record has those of all models. */
  outcomes: Record<string, Outcome>
  /** Your name of the task. */
  tag?: string
  /** The vector of the prompt. All records that have one have it from the same embedder. */
  embedding?: number[]
}

/** How one model did on a prompt. */
export interface Outcome {
  /** How good its answer is, 0 to 1. */
  quality: number
  /** What it cost. Default 0. */
  costUsd?: number
  /** The answer, where doubting answers is learned from it. */
  answer?: string
  /** The part of the model's other answers that came to the same, 0 to 1, where it was asked for more than one. */
  agreement?: number
}

/** A reply of which two models' answers are kept, both to be judged. */
export interface Shadowed {
  /** The id of the reply. */
  id: string
  /** What was asked. */
  prompt: string
  /** Your name of the task. */
  tag?: string
  /** The model that answered. */
  model: string
  /** What it answered. */
  text: string
  /** The model that was asked beside it. */
  shadowModel: string
  /** What that one answered. */
  shadowText: string
}

/** How choosing by what was learned does on judged prompts. */
export interface Evaluation {
  /** Records that have the outcomes of all models; the others are not compared. */
  records: number
  models: string[]
  /** The model that is best alone. */
  bestModel: string
  /** Its mean quality. */
  bestQuality: number
  /** Its mean cost. */
  bestCostUsd: number
  /** The least mean cost at which the stated part of its quality is kept; absent when no choice keeps it. */
  costUsdAtRetention?: number
  /** The part of its cost that this saves; negative when choosing costs more. */
  saving?: number
  /** The choices this is taken from, best quality first. */
  tradeoffs: { lambda: number; quality: number; costUsd: number }[]
  /** The choice between the cheapest and the best model, by the measures of RouteLLM; absent where they are one. */
  pair?: { cheap: number; strong: number; apgr: number; cpt50: number; cpt80: number }
}

/** The cascade, calibrated: how much an answer may be doubted before a dearer model is asked. */
export interface Calibration {
  /** A dearer model is asked where the doubt is at least this; absent when it is asked always, or never. */
  threshold?: number
  minRetention: number
  confidence: number
  /** The part of the dearer model's quality that was kept on the judged answers. */
  retention: number
  /** The part of them on which the dearer model was asked. */
  strongShare: number
  /** How many there were. */
  labels: number
}

/** What past calls cost, and what they would have cost with another policy. The tokens on another model are estimated from
 * how both count the request; how good its answers would have been is not known. */
export interface Replay {
  /** Calls that were decided again. */
  calls: number
  /** What they cost. */
  costUsd: number
  costNanoUsd: number
  /** What they would have cost. */
  replayedCostUsd: number
  replayedCostNanoUsd: number
  /** Answered calls that could not be decided again; in neither sum. */
  leftOut: number
  leftOutCostUsd: number
  leftOutCostNanoUsd: number
  /** What failed attempts cost; in neither sum. */
  wastedUsd: number
  wastedNanoUsd: number
  /** Which models would have served, and for how much. */
  models: Record<string, { calls: number; costUsd: number; costNanoUsd: number }>
}

/** How a budget of the settings stands. */
export interface BudgetState {
  /** Of which tenant's calls; of all when absent. */
  tenant?: string
  key?: string
  tag?: string
  model?: string
  period: 'day' | 'month' | 'total'
  /** What they may spend. */
  limitUsd: number
  limitNanoUsd: number
  /** Where it warns. */
  softUsd?: number
  softNanoUsd?: number
  /** What they spent in this period. */
  spentUsd: number
  spentNanoUsd: number
  /** What is held for calls on their way. */
  heldUsd: number
  heldNanoUsd: number
  /** When the period is over; absent without an end. */
  endsMs?: number
}

/** Something to know of the price of a model. */
export type PriceWarning =
  /** Its provider ends it within 30 days, or has ended it. */
  | { type: 'ends'; model: string; on: string }
  /** Its price is older than 90 days. */
  | { type: 'old'; model: string; pricedOn: string }

// Parallel Mind -----------------------------------------------------------------------------------------------------

/** What a function is given as the body of a task. */
export interface TaskCall<Input = any> {
  run: string
  task: string
  /** 1 for the first attempt. */
  attempt: number
  input: Input
  /** Results of the tasks it waited for, by name. */
  results: Record<string, any>
}

/** The end of a task. */
export interface TaskResult {
  task: string
  outcome: 'succeeded' | 'failed' | 'skipped' | 'cancelled'
  /** Its result; null unless it succeeded. */
  value: any
  /** The error code when it failed. */
  code?: string
  /** The error in words when it failed, or why it was skipped. */
  error?: string
  /** Attempts made, over all processes. */
  attempts: number
  latencyMs: number
  /** Whether it had finished before this process took the run over. */
  restored: boolean
}

export type RunState = 'running' | 'succeeded' | 'failed' | 'cancelled'

// Creative ----------------------------------------------------------------------------------------------------------

/** Something a solution must meet: words for a judge, or a check by code. */
export type Constraint =
  | string
  | { maxWords: number }
  | { minWords: number }
  | { mentions: string }
  | { avoids: string }
  | { maxAmount: number }

/** One idea, measured. */
export interface Idea {
  text: string
  model: string
  /** The prompt variation it is from. */
  operator: string
  /** 1 - the highest cosine with any idea seen before it. Absent for the very first. */
  novelty?: number
  /** Share of the constraints it meets; absent when none could be checked. */
  feasibility?: number
  violated: string[]
  unchecked: string[]
}

/** Ideas for a problem, best first. */
export interface CreativeSolution {
  solutions: Idea[]
  noveltyIndex?: number
  feasibilityScore?: number
  creativityScore?: number
  /** Answers that were dropped as repeats. */
  repeats: number
  costUsd: number
  costNanoUsd: number
  savedUsd: number
  savedNanoUsd: number
  /** What the numbers do not say. */
  notes: string[]
}

// Gates -------------------------------------------------------------------------------------------------------------

export type ArtifactKind = 'text' | 'json' | 'rust' | 'python' | 'javascript'

/** Something that was generated. */
export interface Artifact {
  name: string
  kind: ArtifactKind
  content: string
  /** JSON schema it must fit (kind `json`). */
  schema?: JsonSchema
}

/** What a gate says. */
export interface Verdict {
  gate: string
  passed: boolean
  findings: { message: string; line?: number }[]
}

/** What all gates say. */
export interface GateReport {
  passed: boolean
  verdicts: Verdict[]
}

// Team --------------------------------------------------------------------------------------------------------------

/** A worker of the team. */
export interface Agent {
  name: string
  role?: string
  /** Tasks are given by their similarity to these. */
  skills?: string[]
  instructions?: string
  /** This model and no other. */
  model?: string
  /** Names of registered functions it may call. */
  tools?: string[]
}

/** Work to do. */
export interface Epic {
  /** With the id of an epic that was interrupted, that one goes on. Default: a fresh one. */
  id?: string
  title: string
  description?: string
  /** What must be there in the end; at least one. */
  requirements: string[]
  agents?: Agent[]
  /** How many agents, when `agents` is empty. */
  teamSize?: number
  needs?: Needs
  /** Tokens of one task's answer at most. */
  maxTokens?: number
}

/** A task of an epic. */
export interface EpicTask {
  name: string
  description: string
  /** Indexes of the requirements it serves. */
  requirements?: number[]
  after?: string[]
  agent?: string
  produces?: ArtifactKind
}

export type Planner = { by: 'model'; model: string } | { by: 'rules'; because: string } | { by: 'caller' }

/** A plan of an epic: it can be looked at and edited before it is run. */
export interface EpicPlan {
  epic: Epic
  tasks: EpicTask[]
  planner: Planner
}

/** One task in a report. */
export interface TaskReport {
  task: string
  agent: string
  outcome: TaskResult['outcome']
  result: string
  model?: string
  gates: Verdict[]
  error?: string
  /** What was not done as asked. */
  notes: string[]
  inputTokens: number
  outputTokens: number
  costUsd: number
  costNanoUsd: number
  savedUsd: number
  savedNanoUsd: number
  attempts: number
  restored: boolean
  latencyMs: number
}

/** What came of an epic. Tokens and money are those of its planning and its tasks, as the ledger has them. */
export interface EpicReport extends Cost {
  epic: string
  title: string
  outcome: 'succeeded' | 'failed' | 'cancelled'
  planner: Planner
  tasks: TaskReport[]
  agents: number
  inputTokens: number
  outputTokens: number
  latencyMs: number
  /** The namespace of the memory it left behind. */
  namespace: string
}

// Monitoring --------------------------------------------------------------------------------------------------------

/** A distribution of times. */
export interface Latency {
  count: number
  meanMs: number
  p50Ms: number
  p95Ms: number
  p99Ms: number
  maxMs: number
}

/** What happened so far in this process. */
export interface Metrics {
  /** Events by type. */
  events: Record<string, number>
  /** Model calls by model. */
  models: Record<
    string,
    {
      attempts: number
      failures: Record<string, number>
      inputTokens: number
      outputTokens: number
      costUsd: number
      costNanoUsd: number
      latency: Latency
    }
  >
  /** Tasks by outcome. */
  tasks: Record<string, number>
  taskLatency: Latency
  recallLatency: Latency
  costUsd: number
  costNanoUsd: number
  savedUsd: number
  savedNanoUsd: number
}

/** What a model in this process did so far, and holds now. */
export interface LocalStatistics {
  /** Whether its weights are in memory; a model that is not loaded is loaded by the next request. */
  loaded: boolean
  /** Answers that wait for their turn. */
  waiting: number
  /** Answers that are being written. */
  running: number
  /** Tokens that were read, those written among them. */
  tokensRead: number
  /** Tokens that need not be read, since answers before them began in the same way. */
  tokensFound: number
  tokensWritten: number
  /** Tokens that were guessed from what the answer repeats, to be checked several in a step. */
  tokensDrafted: number
  /** Guesses that were right. */
  tokensAccepted: number
  /** Tokens written a second by all answers together, over the last second of work. */
  tokensPerS: number
  /** Answers that had to make way for others and were read again. */
  preempted: number
  weightBytes: number
  /** Bytes of what is remembered of tokens that were read. */
  memoryBytes: number
  /** Of these, bytes that are kept for answers to come, those in use among them. */
  keptBytes: number
}

/** How a part is. */
export interface Health {
  ok: boolean
  /** What is wrong and what to do, or an empty text. */
  detail: string
}

/** One thing that happened. Further fields go with the type, see `docs` of the Rust enum `EventKind`. */
export interface TriuneEvent {
  type: string
  atMs: number
  /** Identifies the call. */
  trace: string
  tenant: string
  [field: string]: any
}

// Settings ----------------------------------------------------------------------------------------------------------

/** How a local chat model runs. */
export interface LocalConfig {
  /** Answers written at once; more wait for their turn. Default: 64. */
  concurrency?: number
  /** Answers that may wait; one more is refused as `OVERLOADED`. Default: 10,000. */
  queue?: number
  /** Threads that compute. Default: the number of cores. */
  threads?: number
  /** Tokens of request and answer together, at most. Default: what the file says, up to 8192. */
  contextLength?: number
  /** Bytes of what is remembered of tokens that were read. Default: 512 MiB. */
  memoryBytes?: number
  /** Seconds without an answer after which the weights leave memory, until the next request loads them again. Default:
   * never. */
  idleUnloadS?: number
  /** Guesses what an answer says next where it repeats its prompt or itself: the answer is the same, and sooner there.
   * Default: false. */
  speculation?: boolean
  /** Computes with all weights in 32 bits and rounds nothing. Default: false. */
  fullPrecision?: boolean
}

/** A chat model by name. */
export interface ModelConfig {
  /** Default: the name of its source. */
  id?: string
  /** Default `local`. */
  provider?: 'local' | 'openai' | 'anthropic'
  /** Local: a path, a catalogue name or a hub id. Cloud: the provider's name of the model. */
  source: string
  baseUrl?: string
  apiKey?: string
  /** Default: `OPENAI_API_KEY` or `ANTHROPIC_API_KEY`. May hold several keys, with commas between them. */
  apiKeyEnv?: string
  /** Cloud: more keys, each tried when those before it were refused, told to slow down or out of money. */
  apiKeys?: string[]
  /** Cloud: what the provider lets it be asked in a minute. Default: no limit of ours. */
  rateLimit?: RateLimit
  /** Cloud: longest time to reach the server. Default: the router's. */
  connectTimeoutMs?: number
  /** Cloud: longest time until it begins to answer; 0 for none. More for a model that thinks first. Default: the router's. */
  firstTokenTimeoutMs?: number
  contextLength?: number
  /** Local: how it runs. */
  local?: LocalConfig
  price?: Price
  /** Cloud: how the provider serves calls of the account that do not ask for it; what is held for a call goes by its price.
   * Default `standard`. */
  tier?: 'standard' | 'batch' | 'flex' | 'priority'
  capabilities?: Capabilities
  quality?: number
  latencyMs?: number
}

/** An embedder by name. */
export interface EmbedderConfig {
  provider?: 'local' | 'openai' | 'anthropic'
  source?: string
  baseUrl?: string
  apiKey?: string
  apiKeyEnv?: string
  dimensions?: number
  /** Local: the numbers of the weights. Default `f32`. */
  precision?: 'f32' | 'int8'
  /** Local: where it computes. A GPU has to be built in. Default `cpu`. */
  device?: 'cpu' | 'cuda' | 'metal'
  /** Local: what stands before a query. Default: what the model was trained with, as far as its files or name say so. */
  queryPrompt?: string
  /** Local: what stands before every other text. Default: as for `queryPrompt`. */
  passagePrompt?: string
  /** Overrides the price table. */
  price?: Price
}

/** The reranker: a model in this process. */
export interface RerankerConfig {
  /** A folder, or a hub id such as `cross-encoder/ms-marco-MiniLM-L6-v2`. */
  source: string
  /** The numbers of the weights. Default `f32`. */
  precision?: 'f32' | 'int8'
}

/** Settings; every field has a default. The names of the TOML file (`reference_model`) are taken too. */
export interface Config {
  models?: ModelConfig[]
  embedder?: EmbedderConfig
  /** The reranker of recall. Default: none. */
  reranker?: RerankerConfig
  /** The image model, of OpenAI or of a server that speaks its format. Default: none. */
  imageModel?: ModelConfig
  /** Whether to use the catalogued models found in the cache folder where none is named. Default true. */
  discover?: boolean
  /** Bytes that the local models of `models` share: where one lacks room, the longest unused leaves memory until it is
   * asked again. Default: no limit. */
  memoryBudgetBytes?: number
  store?: Record<string, unknown>
  router?: Record<string, unknown>
  recall?: Record<string, unknown>
  parallel?: Record<string, unknown>
  creative?: Record<string, unknown>
  team?: Record<string, unknown>
}
