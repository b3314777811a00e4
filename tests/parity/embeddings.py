"""Writes core/tests/fixtures/embeddings.json: 100 texts and what sentence-transformers makes of them.

    pip install sentence-transformers
    python tests/parity/embeddings.py FOLDER_OF_all-MiniLM-L6-v2
"""

import json
import pathlib
import sys

import sentence_transformers
from sentence_transformers import SentenceTransformer
from texts import EMBEDDING_TEXTS

model = SentenceTransformer(sys.argv[1], device="cpu")
assert model.max_seq_length == 256
vectors = model.encode(EMBEDDING_TEXTS, normalize_embeddings=True, batch_size=8)
fixture = {
    "made_by": f"sentence-transformers {sentence_transformers.__version__}, all-MiniLM-L6-v2, f32",
    "texts": EMBEDDING_TEXTS,
    "vectors": [[round(float(x), 6) for x in vector] for vector in vectors],
}
path = pathlib.Path(__file__).parents[2] / "core/tests/fixtures/embeddings.json"
path.write_text(json.dumps(fixture, ensure_ascii=True, separators=(",", ":")) + "\n")
print(path.stat().st_size, "bytes")
