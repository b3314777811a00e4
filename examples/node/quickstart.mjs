// Knowledge stored and found again, and a text from a local model, with what it cost and saved. Offline.
//
//   npm run quickstart       (models: npx triune models pull smollm2-135m, and all-minilm-l6-v2)
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Triune } from 'triune'

const folder = await mkdtemp(join(tmpdir(), 'triune-quickstart-'))
const mind = await Triune.open(folder)

await mind.recall.store('Ada moved to Paris in 2024', { metadata: { user: 'ada' } })
await mind.recall.store('The canteen closes at three')
for (const hit of await mind.recall.query('Where does Ada live?', { k: 1 })) {
  console.log(hit.score.toFixed(2), hit.text, hit.metadata)
}

const stream = mind.stream('Say hello to Ada in one sentence.', { maxTokens: 30, seed: 1 })
for await (const piece of stream) process.stdout.write(piece)
const { model, usage, costUsd, savedUsd } = stream.reply
console.log(`\n${usage.outputTokens} tokens of ${model}: cost $${costUsd}, saved $${savedUsd}`)

await mind.close()
await rm(folder, { recursive: true })
