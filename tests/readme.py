"""Runs the Python and the JavaScript of README.md as they stand, in a fresh folder. Rust is compiled by `cargo test`."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {"python": ("readme.py", [sys.executable]), "js": ("readme.mjs", ["node"])}


def main() -> None:
    readme = (ROOT / "README.md").read_text()
    for language, (name, command) in PROGRAMS.items():
        [code] = re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)
        # As a user has it: the package in node_modules of the folder.
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "node_modules").mkdir()
            (Path(folder) / "node_modules" / "triune").symlink_to(ROOT / "bindings-node")
            (Path(folder) / name).write_text(code)
            output = subprocess.run([*command, name], cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
            assert "Ada moved to Paris" in output, output
            print(f"README.md: {language} runs")


if __name__ == "__main__":
    main()
