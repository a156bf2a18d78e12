# SPDX-License-Identifier: Apache-2.0
"""A real program of a keyboard-interactive hook, whose rounds of questions a test chooses."""

from __future__ import annotations

import json
from pathlib import Path

ASKS = """import json, os, sys
with open(sys.argv[0] + ".env", "a") as file:
    print(json.dumps({name: value for name, value in os.environ.items() if name.startswith("SFTPGO")}), file=file)
rounds = json.load(open(sys.argv[0] + ".rounds"))
for one in rounds:
    print(json.dumps(one) if not isinstance(one, str) else one, flush=True)
    for question in one.get("questions", []) if isinstance(one, dict) else []:
        line = sys.stdin.readline()
        with open(sys.argv[0] + ".read", "a") as file:
            file.write(line)
"""


class Asker:
    """A program that asks rounds of questions, and writes down what it reads."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "kbdint"
        self.path.write_text(f"#!/usr/bin/python3 -I\n{ASKS}")
        self.path.chmod(0o755)

    def asks(self, *rounds: object) -> None:
        for suffix in (".env", ".read"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        Path(f"{self.path}.rounds").write_text(json.dumps(rounds))

    @property
    def read(self) -> str:
        path = Path(f"{self.path}.read")
        return path.read_text() if path.exists() else ""

    @property
    def environments(self) -> list[dict[str, str]]:
        path = Path(f"{self.path}.env")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
