"""The first ten lines: store, recall and generate, on models in this process.

    triune models pull smollm2-135m && triune models pull all-minilm-l6-v2
    python examples/python/quickstart.py

Nothing is sent anywhere. SmolLM2-135M is a very small model: look at what is measured, not at its prose.
"""

import tempfile

import triune

with tempfile.TemporaryDirectory() as folder, triune.open(folder) as mind:
    mind.recall.store("Ada moved to Paris in 2024", metadata={"user": "ada"})
    mind.recall.store("Bob collects stamps from Peru", metadata={"user": "bob"})
    for hit in mind.recall.query("In which town is Ada at home?", k=2):
        print(f"{hit.score:.2f} {hit.text}  meaning {hit.why.meaning}, shared words {hit.why.terms}")

    reply = mind.generate("Say hello to Ada.", max_tokens=30)
    print(f"\n{reply.text}\n")
    print(f"{reply.model}: {reply.usage.input_tokens} + {reply.usage.output_tokens} tokens in {reply.latency_ms} ms")
    print(f"cost ${reply.cost_usd:.6f}, saved ${reply.saved_usd:.6f} against the reference model")

    stream = mind.stream("Write a line about rain.", max_tokens=20)
    for piece in stream:
        print(piece, end="", flush=True)
    print(f"\n\nin all: {mind.router.totals()}")
