"""llama.cpp as a reference: a server in this process, and copies of models with every weight in f32."""

import json
import urllib.request

import gguf
import numpy
import xllamacpp


def serve(path, exactly=False, context=2048):
    """A server with llama.cpp's defaults and one thread; exactly: f32 KV cache, no flash attention, no repacking."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.warmup = context, 1, 1, False
    if exactly:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.no_extra_bufts = True
    return xllamacpp.Server(params)


def post(server, path, body):
    request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def tokens(server, text, special, begin=False):
    return post(server, "/tokenize", {"content": text, "add_special": begin, "parse_special": special})["tokens"]


def likeliest(server, prompt):
    # The token that is written is a whole character, and not the end: of others nothing is told. It does not change what
    # is told of all.
    written = tokens(server, "a", special=False)[-1]
    body = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": 5, "cache_prompt": False, "logit_bias": [[written, 1000]]}
    top = post(server, "/completion", body)["completion_probabilities"][0]["top_logprobs"]
    return [[entry["id"], round(entry["logprob"], 5)] for entry in top]


def in_f32(source, target):
    """Copies a GGUF file with every weight in f32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    array, skipped = gguf.GGUFValueType.ARRAY, ("general.architecture", "general.file_type")
    for field in reader.fields.values():
        if field.name not in skipped and not field.name.startswith("GGUF."):
            inner = field.types[-1] if field.types[0] == array else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, weights.astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
