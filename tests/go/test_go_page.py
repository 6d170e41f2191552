"""What `docs/write-a-plugin-go.md` shows is a plugin: it is vetted, its test holds, and it becomes a module."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "write-a-plugin-go.md"
NAMED = re.compile(r"^// (\w+\.go)\n")
IMPORTS = {"fmt": "fmt", "json": "encoding/json", "slices": "slices", "strings": "strings", "time": "time"}


def files() -> dict[str, str]:
    """The page's blocks as the files of one package; a block without imports of its own gets those it uses."""
    made = {}
    for number, block in enumerate(re.findall(r"^```go\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)):
        named = NAMED.match(block)
        if not block.startswith("package") and named is None:
            used = [path for name, path in IMPORTS.items() if re.search(rf"\b{name}\.", block)]
            lines = "".join(f'\t"{path}"\n' for path in sorted(used))
            apart = "\n" if lines else ""
            arrow = '\t"dataflare.dev/sdk-go/arrow"\n' if "arrow." in block else ""
            block = f'package main\n\nimport (\n{lines}{apart}\t"dataflare.dev/sdk-go"\n{arrow})\n\n{block}'
        made[named[1] if named else f"block{number}.go"] = block
    return made


def test_the_page_is_a_plugin(tmp_path: Path) -> None:
    for name, content in files().items():
        (tmp_path / name).write_text(content)
    needs = f"require dataflare.dev/sdk-go v1.0.0\n\nreplace dataflare.dev/sdk-go => {ROOT / 'sdk-go'}\n"
    (tmp_path / "go.mod").write_text(f"module page\n\ngo 1.26\n\n{needs}")
    environment = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false", "GOPROXY": "off"}
    wasm = {"GOOS": "wasip1", "GOARCH": "wasm"}
    for words, more in (
        (["gofmt", "-l", "."], {}),
        (["go", "vet", "."], {}),
        (["go", "test", "."], {}),
        (["go", "build", "-buildmode=c-shared", "-trimpath", "-o", "plugin.wasm", "."], wasm),
    ):
        done = subprocess.run(
            words, cwd=tmp_path, env={**environment, **more}, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, (words, done.stdout + done.stderr)
        assert words[0] != "gofmt" or not done.stdout, done.stdout
