// Checked by `npm run typecheck`; never run.
import {
  RateLimitedError,
  RunReport,
  Task,
  Triune,
  TriuneError,
  type ChatModel,
  type Embedder,
  type ErrorCode,
  type Hit,
  type Reply,
} from 'triune'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const is = <T extends true>(): T | void => {}

const chatModels: ChatModel[] = [
  { profile: { id: 'a', contextLength: 1 }, chat: () => 'text' },
  { profile: { id: 'a', contextLength: 1 }, chat: async ({ messages }) => messages[0]?.content ?? '' },
  { profile: { id: 'a', contextLength: 1 }, chat: async () => ({ text: 'a', usage: { inputTokens: 1 } }) },
  {
    profile: { id: 'a', contextLength: 1 },
    chat: () => ({ text: 'a', logprobs: [{ token: 'a', logprob: -1, top: [['a', -1]] }] }),
  },
  {
    profile: { id: 'a', contextLength: 1, price: { inputUsd: 1, outputUsd: 2 } },
    async *chat(_request, { signal }) {
      signal.throwIfAborted()
      yield 'a'
      return { finishReason: 'stop' as const }
    },
  },
  // @ts-expect-error a number is no answer
  { profile: { id: 'a', contextLength: 1 }, chat: () => 42 },
  // @ts-expect-error the context length is not optional
  { profile: { id: 'a' }, chat: () => 'a' },
]
const embedder: Embedder = {
  profile: { id: 'e', dimensions: 2, maxTokens: 8 },
  embed: async (texts) => texts.map(() => new Float32Array(2)),
}

export async function surface(): Promise<void> {
  await using mind = await Triune.open('./mind', {
    config: { discover: false, models: [{ source: 'smollm2-135m' }] },
    models: [...chatModels, 'smollm2-135m', { provider: 'openai', source: 'gpt-4o-mini' }],
    embedder,
    functions: [{ name: 'f', run: async (input: { a: number }) => input.a }],
    engines: [{ name: 'e', call: (request) => request }],
    gates: [{ name: 'g', check: ({ content }) => content !== '' }],
  })
  const reply = await mind.generate('hi', { maxTokens: 5, signal: AbortSignal.timeout(1), budgetUsd: 0.01 })
  is<Same<typeof reply, Reply>>()
  is<Same<typeof reply.costNanoUsd, number>>()
  // @ts-expect-error options are in camel case
  await mind.generate('hi', { max_tokens: 5 })
  // @ts-expect-error a prompt is a text or messages
  await mind.generate(5)
  await mind.generate([{ role: 'user', content: 'hi' }], {
    responseFormat: { type: 'json_schema', name: 'n', schema: { type: 'object' } },
  })
  await mind.generate('hi', { responseFormat: { type: 'regex', pattern: '[0-9]+' } })
  await mind.generate('hi', { responseFormat: { type: 'grammar', lark: 'start: "a"' } })
  const stream = mind.stream('hi')
  for await (const piece of stream) is<Same<typeof piece, string>>()
  is<Same<typeof stream.reply, Reply | undefined>>()
  const web: ReadableStream<string> = stream.toReadableStream()
  void web

  const hits = await mind.recall.query('q', { k: 5, filter: { and: [{ eq: ['user', 'ada'] }, { exists: 'year' }] } })
  is<Same<typeof hits, Hit[]>>()
  // @ts-expect-error no such filter
  await mind.recall.query('q', { filter: { equals: ['a', 1] } })
  const vectors = await mind.embed(['a'])
  is<Same<typeof vectors, Float32Array[]>>()

  const report = await mind.parallel.run(
    [
      new Task('a', async ({ input, results }) => [input, results], { input: 1, retries: 2 }),
      Task.prompt('b', '{{ results.a }}', { after: ['a'], maxTokens: 5 }),
      Task.engine('c', 'recall', { do: 'namespaces' }),
      Task.value('d', 1),
      Task.function('e', 'f'),
    ],
    { run: 'id', concurrency: 2 },
  )
  is<Same<typeof report, RunReport>>()
  const solution = await mind.creative.solve('p', { constraints: ['cheap', { maxAmount: 500 }], ideas: 3 })
  is<Same<typeof solution.noveltyIndex, number | undefined>>()
  const team = mind.team({ agents: 20 })
  const plan = await team.plan({ title: 't', requirements: ['r'] })
  plan.tasks[0]!.agent = 'someone'
  is<Same<Awaited<ReturnType<typeof team.run>>['costUsd'], number>>()
  const { tasks } = await team.run(plan)
  is<Same<(typeof tasks)[number]['notes'], string[]>>()
  for await (const event of mind.events()) is<Same<typeof event.type, string>>()

  try {
    await mind.router.totals({ tenant: 'a' })
  } catch (error) {
    if (error instanceof TriuneError) is<Same<typeof error.code, ErrorCode>>()
    throw new RateLimitedError('slow down', { retryable: false, cause: error })
  }
}
