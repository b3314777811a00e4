import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { HostError, InvalidError, Triune } from 'triune'
import { folder, letters, open } from './support.mjs'

test('knowledge is stored, found, read and forgotten', async (t) => {
  const mind = await open(t, { embedder: letters })
  const metadata = { user: 'ada', camelCase: 1, snake_case: { deepKey: [null, true] }, costUsd: 2, when: null }
  const id = await mind.recall.store('Ada moved to Paris', { metadata })
  const [b] = await mind.recall.storeMany([{ content: 'zzz xxx qqq', metadata: { user: 'bob' } }, 'mmm kkk'])
  const [hit] = await mind.recall.query('Paris', { k: 1 })
  assert.equal(hit.id, id)
  assert.equal(hit.text, 'Ada moved to Paris')
  assert.deepEqual(hit.metadata, metadata, 'metadata must stay as it is')
  assert.ok(hit.score > 0 && hit.why.meaning > 0 && hit.why.words > 0)
  assert.ok(hit.storedMs > 1_700_000_000_000)
  assert.deepEqual((await mind.recall.query('Paris', { filter: { eq: ['user', 'bob'] } })).map((hit) => hit.id), [b])
  assert.deepEqual((await mind.recall.get(id)).metadata, metadata)
  assert.equal(await mind.recall.forget({ filter: { eq: ['user', 'bob'] } }), 1)
  assert.equal(await mind.recall.get(b), undefined)
  await mind.recall.store('elsewhere', { namespace: 'notes', id: 'n1' })
  assert.deepEqual((await mind.recall.namespaces()).sort(), ['default', 'notes'])
  assert.equal((await mind.recall.get('n1', { namespace: 'notes' })).text, 'elsewhere')
})

test('relations lead to neighbours', async (t) => {
  const mind = await open(t, { embedder: letters })
  assert.equal(await mind.recall.relate('ada', 'knows', 'bob'), true)
  assert.equal(await mind.recall.relate('ada', 'knows', 'bob'), false)
  const [near] = await mind.recall.neighbours('ada', { hops: 1 })
  assert.deepEqual(near, { name: 'bob', hops: 1, relation: { from: 'ada', kind: 'knows', to: 'bob', weight: 1 } })
})

test('the words of the mission are the same things', async (t) => {
  const mind = await open(t, { embedder: letters })
  const id = await mind.storeKnowledge('Ada moved to Paris', { metadata: { user: 'ada' } })
  await mind.storeKnowledge('Bob stayed')
  const hits = await mind.recallKnowledge('Ada', { top: 1, filter: { exists: 'user' } })
  assert.deepEqual(hits.map((hit) => hit.id), [id])
})

test('vectors are brought to length 1, and can be given', async (t) => {
  const mind = await open(t, { embedder: letters })
  const [a, empty] = await mind.embed(['aabb', ''])
  assert.ok(a instanceof Float32Array && a.length === 26)
  for (const vector of [a, empty]) assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-5)
  assert.deepEqual(await mind.embed([]), [])
  const id = await mind.recall.store('given', { vector: a })
  const [hit] = await mind.recall.query('zzzz', { vector: a })
  assert.equal(hit.id, id)
  assert.ok(hit.why.meaning > 0.999)
})

test('many items may have vectors, in any form, or none', async (t) => {
  const mind = await open(t)
  const vector = (i) => Array.from({ length: 26 }, (_, at) => (at === i ? 1 : 0))
  const items = [{ content: 'list', vector: vector(0) }, 'text', { content: 'floats', vector: new Float32Array(vector(2)) }]
  const ids = await mind.recall.storeMany(items)
  for (const [i, at] of [[0, 0], [2, 2]]) {
    const [hit] = await mind.recall.query('?', { vector: vector(at), k: 1 })
    assert.equal(hit.id, ids[i])
  }
  assert.equal((await mind.recall.get(ids[1])).text, 'text')
  for (const wrong of [[], 'abc', [NaN, 1], {}]) {
    await assert.rejects(mind.recall.storeMany([{ content: 'x', vector: wrong }]), InvalidError)
  }
  await assert.rejects(mind.recall.storeMany([null]), InvalidError)
  await assert.rejects(mind.recall.storeMany([{ content: 'x', metdata: {} }]), /metdata/)
  assert.deepEqual(await mind.recall.storeMany([]), [])
})

test('an embedder that does not keep its word is told so', async (t) => {
  const profile = { id: 'odd', dimensions: 3, maxTokens: 8 }
  const cases = [
    [() => [[1, 2]], HostError, /profile says 3/],
    [() => [], HostError, /0 vectors for 1 texts/],
    [() => [[0, 0, 0]], HostError, /zeros/],
    [() => [[NaN, 0, 1]], HostError, /no number/],
  ]
  for (const [embed, type, message] of cases) {
    const mind = await open(t, { embedder: { profile, embed } })
    await assert.rejects(mind.embed(['a']), (error) => error instanceof type && message.test(error.message))
    await assert.rejects(mind.recall.store('a'), type)
  }
  const thrown = new TypeError('no network')
  const mind = await open(t, { embedder: { profile, embed: () => { throw thrown } } })
  await assert.rejects(mind.recall.store('a'), (error) => error === thrown)
  await assert.rejects(mind.recall.store(' '), InvalidError)
})

test('queries have a method of their own, and a reranker has the last word', async (t) => {
  const mind = await open(t, { embedder: { ...letters, embedQueries: (texts) => texts.map(() => Array(26).fill(1)) } })
  const [passage] = await mind.embed(['aaa'])
  const [query] = await mind.embed(['aaa'], { query: true })
  assert.ok(passage[0] > 0.9 && Math.abs(query[0] - query[25]) < 1e-6)
  await mind.recall.storeMany(['short tea', 'a longer text on tea'])
  await assert.rejects(mind.recall.query('tea', { rerank: 5 }), /reranker/)
  const asked = []
  mind.setReranker({
    name: 'length',
    rerank: async (query, texts) => (asked.push(query), texts.map((text) => -text.length)),
  })
  const hits = await mind.recall.query('tea', { k: 1, rerank: 5 })
  assert.deepEqual(hits.map(({ text, score }) => [text, score]), [['short tea', -9]])
  assert.ok(hits[0].why.fused >= 0 && hits[0].why.fused <= 1)
  assert.deepEqual(asked, ['tea'])
  assert.equal((await mind.recall.query('tea'))[0].why.fused, undefined)
  mind.setReranker({ name: 'odd', rerank: () => [1] })
  await assert.rejects(mind.recall.query('tea', { rerank: 5 }), HostError)
})


test('times, sessions and history', async (t) => {
  const mind = await open(t)
  const since = new Date('2024-01-01T00:00:00Z')
  await mind.recall.store('Ada lives in London', { id: 'london', validFrom: '2020-01-01' })
  await mind.recall.store('Ada lives in Paris', { id: 'paris', validFrom: since, supersedes: 'london' })
  const ids = async (options) => (await mind.recall.query('Where does Ada live?', options)).map(({ id }) => id)
  assert.deepEqual(await ids(), ['paris'])
  assert.deepEqual(await ids({ validAt: new Date('2022-06-01') }), ['london'])
  assert.deepEqual(await ids({ asOf: Date.UTC(2019, 0, 1) }), [])
  assert.equal((await mind.recall.get('london')).validTo, since.toISOString().replace('.000', ''))
  assert.equal((await mind.recall.get('london')).supersededBy, 'paris')
  assert.deepEqual((await mind.recall.history('paris')).map(({ id }) => id), ['london', 'paris'])
  await mind.recall.storeMany([
    { content: 'Which instrument did he pick?', id: '1', session: 's', speaker: 'Bob', validFrom: since },
    { content: 'He took the violin', id: '2', session: 's', speaker: 'Eve', relations: [{ kind: 'about', to: 'violin' }] },
  ])
  const hits = await mind.recall.query('Which instrument?')
  assert.deepEqual(hits.map(({ id }) => id), ['1', '2'])
  assert.ok(hits[1].why.boosts.neighbours > 0)
  const context = await mind.recall.context('instrument', 100)
  assert.ok(context.text.includes('Bob') && context.tokens <= 100 && context.hits[0].id === '1')
  assert.equal((await mind.recall.path('2', 'violin'))[0].kind, 'about')
  assert.equal(await mind.recall.path('2', 'trumpet'), undefined)
  assert.deepEqual((await mind.recall.rank(['violin'])).map(([name]) => name), ['violin', '2'])
  assert.equal((await mind.recall.subgraph('2'))[0].to, 'violin')
  await assert.rejects(mind.recall.store('Ada lives in Paris', { duplicates: 'refuse' }), /there already/)
})

test('export, import, backup and statistics', async (t) => {
  const mind = await open(t)
  const files = await folder(t)
  await mind.recall.store('Ada lives in London', { id: 'a', metadata: { n_1: 1 } })
  await mind.recall.store('Ada lives in Paris', { id: 'a', tenant: 'acme' })
  const state = await mind.recall.statistics()
  assert.deepEqual([state.tenant, state.namespace, state.items, state.reembedding], ['', 'default', 1, undefined])
  assert.ok(state.bytes.items > 0 && state.index.kind === 'exact' && state.oldestMs <= state.newestMs)
  const path = join(files, 'mind.jsonl')
  assert.equal((await mind.recall.export(path, { vectors: true })).items, 1)
  const text = await readFile(path, 'utf8')
  assert.ok(text.includes('London') && !text.includes('Paris'))
  const other = { namespace: 'copy', tenant: 'other' }
  assert.equal((await mind.recall.import(path, other)).stored, 1)
  assert.equal((await mind.recall.import(path, other)).unchanged, 1)
  assert.deepEqual(await mind.recall.namespaces({ tenant: 'other' }), ['copy'])
  assert.deepEqual((await mind.recall.get('a', other)).metadata, { n_1: 1 })
  await writeFile(path, '{}\n')
  await assert.rejects(mind.recall.import(path), /content/)
  await mind.backup(join(files, 'backup'))
  await assert.rejects(mind.backup(join(files, 'backup')), /there is a store/)
  const copy = await Triune.open(join(files, 'backup'), { config: { discover: false } })
  assert.equal((await copy.recall.get('a')).text, 'Ada lives in London')
  await copy.close()
})
