import { withoutCall } from './call.js'
import type { GenerateOptions, Message } from './types.js'
import { toWire } from './wire.js'

/** A request for text, in the form of the engine. */
export function generateRequest(prompt: string | Message[], options: GenerateOptions = {}): object {
  const { system, tools, toolChoice, parallelToolCalls, responseFormat, tag, n, ...rest } = withoutCall(options)
  const { model, localOnly, minQuality, maxCostUsd, maxLatencyMs, ...aimed } = rest
  const { targetSaving, minRetention, confidence, ...sampling } = aimed
  const aims = { targetSaving, minRetention, confidence }
  const needs = { model, localOnly, minQuality, maxCostUsd, maxLatencyMs, ...aims }
  const asked = { prompt, system, needs, tools, toolChoice, parallelToolCalls, responseFormat, sampling, tag, n }
  return toWire(asked) as object
}
