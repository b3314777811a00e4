"""The peers of embed.py, on the same weights: onnxruntime, and sentence-transformers. The commands are those of
benches/src/embed.rs.

The ONNX model is made here from the weights, of the operators that onnxruntime would fuse a BERT into, so that it is as fast
as onnxruntime can make it; `int8` is what its own dynamic quantisation makes of that.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

BATCH = 32


def show(figure: str, value: float, peer: str) -> None:
    print(json.dumps({"figure": figure, "value": value, "peer": peer}), flush=True)


def make(folder: Path, path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    nodes, tensors = [], []

    def put(name: str, array: Any) -> str:
        tensors.append(numpy_helper.from_array(array.astype("float32"), name))
        return name

    def node(kind: str, inputs: list[str], output: str, domain: str = "com.microsoft", **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    epsilon = config.get("layer_norm_eps", 1e-12)
    table = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    norm = "embeddings.LayerNorm"
    nodes.append(helper.make_node(
        "EmbedLayerNormalization",
        ["ids", "", put("words", weights["embeddings.word_embeddings.weight"]), put("places", table), "",
         put("norm.w", weights[f"{norm}.weight"]), put("norm.b", weights[f"{norm}.bias"])],
        ["x", "unused"], domain="com.microsoft", epsilon=epsilon))
    x = "x"
    for at in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{at}"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        import numpy

        qkv = put(f"{at}.qkv", numpy.concatenate([weights[f"{part}.weight"].T for part in parts], axis=1))
        bias = put(f"{at}.qkv.b", numpy.concatenate([weights[f"{part}.bias"] for part in parts]))
        mixed = node("Attention", [x, qkv, bias, "mask"], f"{at}.a", num_heads=config["num_attention_heads"])

        def dense(inputs: str, of: str, output: str) -> str:
            return node("MatMul", [inputs, put(of, weights[f"{of}.weight"].T)], output, domain="")

        def add_norm(inputs: str, before: str, of: str, bias: str, output: str) -> str:
            names = [put(f"{of}.w", weights[f"{of}.weight"]), put(f"{of}.b", weights[f"{of}.bias"]),
                     put(f"{bias}.b", weights[f"{bias}.bias"])]
            return node("SkipLayerNormalization", [inputs, before, *names], output, epsilon=epsilon)

        out = f"{name}.attention.output"
        x = add_norm(dense(mixed, f"{out}.dense", f"{at}.m"), x, f"{out}.LayerNorm", f"{out}.dense", f"{at}.n")
        up = dense(x, f"{name}.intermediate.dense", f"{at}.u")
        up = node("BiasGelu", [up, put(f"{at}.u.b", weights[f"{name}.intermediate.dense.bias"])], f"{at}.g")
        out = f"{name}.output"
        x = add_norm(dense(up, f"{out}.dense", f"{at}.d"), x, f"{out}.LayerNorm", f"{out}.dense", f"{at}.x")
    shape = ["batch", "length"]
    graph = helper.make_graph(
        nodes, "bert",
        [helper.make_tensor_value_info(name, TensorProto.INT32, shape) for name in ("ids", "mask")],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [*shape, config["hidden_size"]])], tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))


class Onnx:
    def __init__(self, folder: Path, precision: str) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        path = Path(__file__).resolve().parent.parent / ".cache" / "bench" / f"minilm-{precision}.onnx"
        if not path.exists():
            exact = path.with_name("minilm-f32.onnx")
            if not exact.exists():
                make(folder, exact)
            if precision == "int8":
                import onnx
                from onnxruntime.quantization import quantize_dynamic

                quantize_dynamic(str(exact), str(path), op_types_to_quantize=["MatMul", "Attention"],
                                 per_channel=True, extra_options={"WeightSymmetric": True, "DefaultTensorType": onnx.TensorProto.FLOAT})
        import os

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_padding()
        self.tokenizer.enable_truncation(256)
        self.peer = f"onnxruntime {onnxruntime.__version__}"

    def embed(self, texts: list[str]) -> Any:
        import numpy

        vectors: list[Any] = [None] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            encoded = self.tokenizer.encode_batch([texts[i] for i in batch])
            ids = numpy.array([e.ids for e in encoded], dtype=numpy.int32)
            mask = numpy.array([e.attention_mask for e in encoded], dtype=numpy.int32)
            [hidden] = self.session.run(None, {"ids": ids, "mask": mask})
            mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
            mean /= numpy.linalg.norm(mean, axis=1, keepdims=True)
            for i, vector in zip(batch, mean):
                vectors[i] = vector
        return vectors


class Sentence:
    def __init__(self, folder: Path, precision: str) -> None:
        import sentence_transformers

        self.model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
        self.peer = f"sentence-transformers {sentence_transformers.__version__}"

    def embed(self, texts: list[str]) -> Any:
        return self.model.encode(texts, normalize_embeddings=True)


def main() -> None:
    engine, command, folder, precision, *rest = sys.argv[1:]
    embedder = (Onnx if engine == "onnx" else Sentence)(Path(folder), precision)
    if command == "first":
        embedder.embed(["hello"])
        show("memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, embedder.peer)
        return
    texts = json.loads(Path(rest[0]).read_text())
    if command == "vectors":
        Path(rest[1]).write_text(json.dumps([[float(x) for x in vector] for vector in embedder.embed(texts)]))
        return
    embedder.embed(texts[:8])
    all_, one = 1e9, 1e9
    for _ in range(3):
        begun = time.perf_counter()
        embedder.embed(texts)
        all_ = min(all_, time.perf_counter() - begun)
        for text in texts[:5]:
            begun = time.perf_counter()
            embedder.embed([text])
            one = min(one, time.perf_counter() - begun)
    show("rate", len(texts) / all_, embedder.peer)
    show("alone", one * 1e3, embedder.peer)


main()
