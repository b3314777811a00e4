"""Serves a GGUF file by llama.cpp's own server: answers at the first address it prints, embeddings at the second.

    python llama_cpp.py FILE.gguf

It runs in the environment that `servers.py` makes, and ends with its parent's pipe.
"""

import sys

import xllamacpp


def serve(path: str, embeddings: bool) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = path, {"smollm2"}
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.warmup = 2048, 1, 1, False
    params.port, params.use_jinja, params.verbosity = 0, True, 0
    if embeddings:
        params.embedding, params.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(params)


servers = [serve(sys.argv[1], embeddings) for embeddings in (False, True)]
print(*(server.listening_address for server in servers), flush=True)
sys.stdin.read()
