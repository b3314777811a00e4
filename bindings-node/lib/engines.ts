/** The engines `creative`, `gate`, `router` and `team`. */
import { withoutCall, type Caller } from './call.js'
import { generateRequest } from './generate.js'
import type {
  Agent,
  ArtifactKind,
  BudgetState,
  Calibration,
  CallOptions,
  Constraint,
  CreativeSolution,
  Epic,
  EpicPlan,
  EpicReport,
  Evaluation,
  GateReport,
  GenerateOptions,
  JsonSchema,
  JudgedPrompt,
  LedgerEntry,
  LedgerFilter,
  LedgerTotals,
  Message,
  ModelProfile,
  Needs,
  PriceWarning,
  Replay,
  RoutePlan,
  Shadowed,
} from './types.js'
import { NANO, fromWire } from './wire.js'

export interface SolveOptions extends CallOptions {
  /** What a solution must meet. */
  constraints?: Constraint[]
  /** Ideas wanted, 1 to 100. Default 6. */
  ideas?: number
  /** What the models must offer. */
  needs?: Needs
  /** Tokens of one idea at most. Default 120. */
  maxTokens?: number
  seed?: number
  /** Where ideas are remembered. Default `ideas`. */
  namespace?: string
}

/** Ideas from several prompts and models, measured and ranked. */
export class Creative {
  readonly #caller: Caller

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller
  }

  /** Solves a problem. */
  solve(problem: string, options: SolveOptions = {}): Promise<CreativeSolution> {
    return this.#caller.ask('creative', 'solve', { problem, ...withoutCall(options) }, options)
  }
}

export interface CheckOptions extends CallOptions {
  /** Default `text`. */
  kind?: ArtifactKind
  /** What it is called in reports. */
  name?: string
  /** JSON schema it must fit (kind `json`). */
  schema?: JsonSchema
  /** By these gates; by all that there are when absent. */
  gates?: string[]
}

/** Checks on what was generated. */
export class Gates {
  readonly #caller: Caller

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller
  }

  /** Checks `content`. */
  check(content: string, options: CheckOptions = {}): Promise<GateReport> {
    const { gates, ...artifact } = withoutCall(options)
    return this.#caller.ask('gate', 'check', { artifact: { content, ...artifact }, gates }, options)
  }
}

export interface LedgerOptions extends CallOptions, LedgerFilter {
  /** At most this many, newest first. Default 100. */
  limit?: number
}

export interface ReplayOptions extends CallOptions, LedgerFilter {
  /** One model for all calls. */
  always?: string
  /** The models the router chooses among. Default: those there are now. */
  models?: ModelProfile[]
}

/** What models cost and saved, and which one would serve a request. */
export class RouterFacet {
  readonly #caller: Caller

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller
  }

  /** What every call cost and saved; of `tenant` when it is given. */
  ledger(options: LedgerOptions = {}): Promise<LedgerEntry[]> {
    return this.#caller.ask('router', 'ledger', { tenant: options.tenant, ...withoutCall(options) }, options)
  }

  /** Sums of the ledger by tenant, tag, model, key or day; those of none are under the empty text. */
  async totalsBy(
    by: 'tenant' | 'tag' | 'model' | 'key' | 'day',
    options: CallOptions & LedgerFilter = {},
  ): Promise<Record<string, LedgerTotals>> {
    const of = { tenant: options.tenant, ...withoutCall(options) }
    type Group = { group: string; totals: LedgerTotals }
    const groups = await this.#caller.ask<Group[]>('router', 'groups', { by, of }, options)
    return Object.fromEntries(groups.map(({ group, totals }) => [group, totals]))
  }

  /** What past calls would have cost with another policy: `always` one model, by its id or its name in the price table, or
   * else as the router decides now, among `models` or those there are. */
  replay(options: ReplayOptions = {}): Promise<Replay> {
    const { always, models, ...rest } = withoutCall(options)
    const of = { tenant: options.tenant, ...rest }
    return this.#caller.ask('router', 'replay', { model: always, models, of }, options)
  }

  /** Why the reply with this id is of the model it is of, what else could have been asked, and what it cost: in words. */
  async explain(replyId: string, options: CallOptions = {}): Promise<string> {
    const { text } = await this.#caller.ask<{ text: string }>('router', 'explain', { id: replyId }, options)
    return text
  }

  /** Tells how good a reply was, 0 to 1, once, within the setting `router.learning.judgeDays`; with `shadowScore` also how good
   * the answer was of the model that was asked beside it, see `shadowed`. Refused with `NOT_FOUND` when it cannot be judged:
   * `router.learning.enabled` must be set when it is asked for. */
  async feedback(replyId: string, score: number, options: CallOptions & { shadowScore?: number } = {}): Promise<void> {
    const { shadowScore } = options
    await this.#caller.ask('router', 'feedback', { id: replyId, score, shadowScore }, options)
  }

  /** The newest replies of the tenant, `limit` of them (default 100), that a second model answered too, for the setting
   * `router.learning.shadow`, and that were not judged: tell how good both answers are by `feedback`. */
  shadowed(options: CallOptions & { limit?: number } = {}): Promise<Shadowed[]> {
    const { limit } = options
    return this.#caller.ask('router', 'shadowed', { limit }, options)
  }

  /** Removes what is kept of a reply to learn from, or of all replies of the tenant: prompts, answers and judgements. Says of
   * how many. What was learned from them stays until `train` is called. */
  async forget(replyId?: string, options: CallOptions = {}): Promise<number> {
    const forgotten = await this.#caller.ask<{ replies: number }>('router', 'forget', { id: replyId }, options)
    return forgotten.replies
  }

  /** Learns anew from `records` and all feedback so far: what to expect of models, how much to doubt answers, and what aims
   * cost. Says how many there were. */
  async train(records: JudgedPrompt[] = [], options: CallOptions = {}): Promise<number> {
    const learned = await this.#caller.ask<{ records: number }>('router', 'train', { records }, options)
    return learned.records
  }

  /** How choosing by what was learned does on `records` that were not learned from, and what it saves at `retention` of the
   * best single model's quality (default 1). Nothing is called. */
  async evaluate(records: JudgedPrompt[], options: CallOptions & { retention?: number } = {}): Promise<Evaluation> {
    const { retention } = options
    type Choices = Pick<Evaluation, 'bestQuality' | 'saving'> & { best: number; bestCost: number; costAtRetention?: number }
    type Found = Pick<Evaluation, 'records' | 'models' | 'pair'> & { choices: Choices & { tradeoffs: PointFound[] } }
    type PointFound = { lambda: number; quality: number; costUsd: number }
    const { choices, ...found } = await this.#caller.ask<Found>('router', 'evaluate', { records, retention }, options)
    const { best, bestQuality, bestCost, costAtRetention, saving, tradeoffs } = choices
    return {
      ...found,
      bestModel: found.models[best]!,
      bestQuality,
      bestCostUsd: bestCost / NANO,
      costUsdAtRetention: costAtRetention === undefined ? undefined : costAtRetention / NANO,
      saving,
      tradeoffs: tradeoffs.map(({ lambda, quality, costUsd }) => ({ lambda, quality, costUsd })),
    }
  }

  /** How much an answer may be doubted before a dearer model is asked, so that `minRetention` of its quality is kept with
   * `confidence`, as far as judged answers show; the settings are `router.learning.cascade` and beside it. */
  cascade(options: CallOptions & { minRetention?: number; confidence?: number } = {}): Promise<Calibration> {
    const { minRetention, confidence } = options
    return this.#caller.ask('router', 'calibrate', { minRetention, confidence }, options)
  }

  /** The least likeness at which an answer may be given again, for the setting `router.cache.semantic`: of pairs of requests,
   * and whether one answer serves both, at most the part `falseHits` of those at least so alike are wrong (default 0).
   * Undefined when no likeness is that safe. */
  async calibrateCache(
    pairs: [one: string, other: string, same: boolean][],
    options: CallOptions & { falseHits?: number } = {},
  ): Promise<number | undefined> {
    const { falseHits } = options
    type Found = { threshold?: number }
    const { threshold } = await this.#caller.ask<Found>('router', 'calibrate_cache', { pairs, falseHits }, options)
    return threshold
  }

  /** How the budgets of the settings stand, in their order. */
  budgets(options: CallOptions = {}): Promise<BudgetState[]> {
    return this.#caller.ask('router', 'budgets', {}, options)
  }

  /** Which models there are that their providers end within 30 days or have ended, and whose prices are older than 90
   * days. */
  priceWarnings(options: CallOptions = {}): Promise<PriceWarning[]> {
    return this.#caller.ask('router', 'price_warnings', {}, options)
  }

  /** Sums of the ledger; of `tenant` when it is given. */
  totals(options: CallOptions = {}): Promise<LedgerTotals> {
    return this.#caller.ask('router', 'totals', { tenant: options.tenant }, options)
  }

  /** The models there are. */
  models(options: CallOptions = {}): Promise<ModelProfile[]> {
    return this.#caller.ask('router', 'models', {}, options)
  }

  /** Which models would serve a request, and why; nothing is called. */
  async route(prompt: string | Message[], options: GenerateOptions = {}): Promise<RoutePlan> {
    const request = { do: 'route', ...generateRequest(prompt, options) }
    return fromWire<RoutePlan>(await this.#caller.json('router', request, options))
  }
}

export interface TeamOptions {
  /** How many agents, or which. Default: the configured number. */
  agents?: number | Agent[]
}

const isPlan = (work: Epic | EpicPlan): work is EpicPlan => 'planner' in work && 'tasks' in work

/** A team of agents that plans and works on epics. */
export class Team {
  readonly #caller: Caller
  readonly #agents: number | Agent[] | undefined

  /** @internal */
  constructor(caller: Caller, options: TeamOptions = {}) {
    this.#caller = caller
    this.#agents = options.agents
  }

  /** Plans an epic. The plan can be looked at and edited. */
  plan(epic: Epic, options: CallOptions = {}): Promise<EpicPlan> {
    return this.#caller.ask('team', 'plan', { epic: this.#staffed(epic) }, options)
  }

  /** Works on an epic, or on a plan, to its end. */
  run(work: Epic | EpicPlan, options: CallOptions = {}): Promise<EpicReport> {
    return isPlan(work)
      ? this.#caller.ask('team', 'run_plan', { plan: work }, options)
      : this.#caller.ask('team', 'run', { epic: this.#staffed(work) }, options)
  }

  /** Goes on with an epic that was interrupted. */
  resume(epic: string, options: CallOptions = {}): Promise<EpicReport> {
    return this.#caller.ask('team', 'resume', { epic }, options)
  }

  /** Ids of epics that have not ended, oldest first. */
  async unfinished(options: CallOptions = {}): Promise<string[]> {
    return (await this.#caller.ask<{ epics: string[] }>('team', 'unfinished', {}, options)).epics
  }

  #staffed(epic: Epic): Epic {
    if (typeof this.#agents === 'number') return { teamSize: this.#agents, ...epic }
    return this.#agents ? { agents: this.#agents, ...epic } : epic
  }
}
