"""Makes prices.json of LiteLLM's table: the models and fields that triune reads, one model a line.

    python3 core/src/model/prices.py FILE TAKEN > core/src/model/prices.json

FILE is `model_prices_and_context_window_backup.json` of the PyPI wheel litellm (MIT), TAKEN the day it is of, as
2026-11-22. Models that their provider has ended stay: who still names one is warned.
"""

from __future__ import annotations

import json
import re
import sys

PROVIDERS = {"openai", "anthropic", "gemini", "mistral"}
MODES = {"chat", "responses", "embedding", "image_generation"}
TIERS = r"(_batches|_flex|_priority)?"
FIELDS = re.compile(
    r"(input|output)_cost_per_token(_above_\d+k_tokens)?" + TIERS
    + r"|cache_read_input_token_cost(_above_\d+k_tokens)?" + TIERS
    + r"|cache_creation_input_token_cost(_above_(1|12)hr)?(_above_\d+k_tokens)?" + TIERS
    + r"|output_cost_per_reasoning_token" + TIERS
    + r"|(input|output)_cost_per_image_token" + TIERS
    + r"|output_cost_per_image|tiered_pricing"
    + r"|litellm_provider|mode|max_input_tokens|max_tokens|output_vector_size|deprecation_date"
    + r"|supports_(function_calling|response_schema|vision|reasoning|sampling_params)"
)


def trimmed(entry: dict[str, object]) -> dict[str, object]:
    kept = {name: entry[name] for name in sorted(entry) if FIELDS.fullmatch(name) and entry[name] is not None}
    # What a model cannot do is the default, but for these.
    kept = {name: value for name, value in kept.items() if value is not False or name == "supports_sampling_params"}
    # The length of request and answer is read from the first of them that is there.
    if "max_input_tokens" in kept:
        kept.pop("max_tokens", None)
    return kept


def main() -> None:
    file, taken = sys.argv[1:]
    with open(file, encoding="utf-8") as opened:
        table = json.load(opened)
    models = {
        name: trimmed(entry)
        for name, entry in sorted(table.items())
        if entry.get("litellm_provider") in PROVIDERS
        and entry.get("mode") in MODES
    }
    # What has no price, such as an image by its pixels, is of no use here.
    priced = {name: entry for name, entry in models.items() if any("cost" in field or "pricing" in field for field in entry)}
    source = {
        "table": "model_prices_and_context_window_backup.json of the PyPI wheel litellm 1.109.1, repository BerriAI/litellm",
        "taken": taken,
        "entries": "models of openai, anthropic, gemini and mistral of the modes chat, responses, embedding and "
        "image_generation; fields that triune reads. Made by prices.py",
        "licence": "MIT, Copyright (c) 2023 Berri AI: see prices.LICENSE",
    }
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in {"_source": source, **priced}.items()]
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
