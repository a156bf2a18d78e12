"""Report module sizes: over 400 lines is listed, over 800 fails (generated files and data tables exempt)."""

import sys
from pathlib import Path

ARGUE, FAIL = 400, 800
EXEMPT = {"alembic"}

sizes = sorted(
    ((len(p.read_text(encoding="utf-8").splitlines()), p) for p in Path("src").rglob("*.py")), reverse=True
)
for lines, path in sizes:
    if lines > ARGUE:
        print(f"{lines:5}  {path}{'  TOO LARGE: split it' if lines > FAIL else ''}")
print(f"{len(sizes)} modules, {sum(n for n, _ in sizes)} lines, largest {sizes[0][0]}")
sys.exit(any(n > FAIL and not EXEMPT & set(p.parts) for n, p in sizes))
