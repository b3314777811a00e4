import { withoutCall } from './call.js'
import type { GenerateOptions, Message } from './types.js'
import { toWire } from './wire.js'

/** A request for text, in the form of the engine. */
export function generateRequest(prompt: string | Message[], options: GenerateOptions = {}): object {
  const { system, tools, responseFormat, model, localOnly, minQuality, maxCostUsd, maxLatencyMs, n, ...sampling } =
    withoutCall(options)
  const needs = { model, localOnly, minQuality, maxCostUsd, maxLatencyMs }
  return toWire({ prompt, system, needs, tools, responseFormat, sampling, n }) as object
}
