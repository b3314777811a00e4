"""litellm's Router and plain httpx against our fault server. Runs in an environment of its own.

    peers_router.py faults             says its name, reads the scenarios as JSON, prints what its caller saw of each
    peers_router.py streams URL N R    N streams at once, R rounds: {"client", "p50_ms", "p99_ms", "n"}
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import httpx
import litellm
from litellm import Router

litellm.suppress_debug_info = True
litellm.drop_params = True
MESSAGES = [{"role": "user", "content": "Tell me in sixty words."}]


def router(url: str, primary: str, fallback: str, timeout: float) -> Any:
    """As FailoverBench has it: two retries, one fallback, all else by default."""
    models = [{"model_name": name, "litellm_params": {"model": f"openai/{model}", "api_base": url, "api_key": "none"}}
              for name, model in (("primary", primary), ("fallback", fallback))]
    return Router(model_list=models, num_retries=2, timeout=timeout, fallbacks=[{"primary": ["fallback"]}],
                  context_window_fallbacks=[{"primary": ["fallback"]}], set_verbose=False)


async def stream(client: Any, model: str) -> dict[str, Any]:
    begun = time.perf_counter()
    parts, used, answered, error = [], False, None, ""
    try:
        response = await client.acompletion(model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True})
        async for chunk in response:
            answered = getattr(chunk, "model", None) or answered
            used = used or bool(getattr(chunk, "usage", None))
            for choice in chunk.choices or []:
                parts.append(choice.delta.content or "")
    except Exception as failed:
        error = f"{type(failed).__name__}: {str(failed)[:200]}"
    return {"elapsed_s": time.perf_counter() - begun, "text": None if error else "".join(parts), "model": answered,
            "has_usage": used, "error": error}


async def play(scenario: dict[str, Any]) -> None:
    client = router(scenario["url"], scenario["primary"], scenario["fallback"], scenario["timeout_s"])
    begun, calls = time.perf_counter(), []
    for at in range(scenario["count"]):
        await asyncio.sleep(max(0.0, at * scenario["apart_s"] - (time.perf_counter() - begun)))
        sent = time.perf_counter() - begun
        calls.append({"sent_s": sent, **await stream(client, "primary")})
    alive = (await stream(client, "fallback"))["text"] is not None
    print(json.dumps({"id": scenario["id"], "calls": calls, "alive": alive}), flush=True)


async def faults() -> None:
    print(f"litellm {version('litellm')} Router", flush=True)
    scenarios = json.loads(sys.stdin.readline())
    await asyncio.gather(*(play(scenario) for scenario in scenarios))


async def plain(client: httpx.AsyncClient, url: str) -> None:
    body = {"model": "ok", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                json.loads(line[6:])


async def streams(url: str, at_once: int, rounds: int) -> None:
    routed = router(url, "ok-a", "ok-b", 60)
    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:

        async def timed(work: Any) -> float:
            begun = time.perf_counter()
            answer = await work
            assert answer is None or answer["text"], answer
            return (time.perf_counter() - begun) * 1e3

        for name, call in (("httpx", lambda: plain(client, url)), ("litellm", lambda: stream(routed, "primary"))):
            times: list[float] = []
            # The first round opens the connections.
            for round_ in range(rounds + 1):
                took = await asyncio.gather(*(timed(call()) for _ in range(at_once)))
                times += took if round_ else []
            times.sort()
            print(json.dumps({"client": name, "p50_ms": times[len(times) // 2], "p99_ms": times[int((len(times) - 1) * 0.99)],
                              "n": len(times), "version": version(name)}), flush=True)


if sys.argv[1] == "faults":
    asyncio.run(faults())
else:
    asyncio.run(streams(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
