"""Report module sizes: over 400 lines a module says why it is ("Long, because ..."), over 800 fails."""

import ast
import re
import sys
from pathlib import Path

ARGUE, FAIL = 400, 800
EXEMPT = {"alembic"}
REASON = re.compile(r"^Long, because .+?\.$", re.MULTILINE | re.DOTALL)


def reason_of(text: str) -> str:
    """The sentence of a module's docstring that says why it is long; empty if there is none."""
    found = REASON.search(ast.get_docstring(ast.parse(text)) or "")
    return " ".join(found[0].split()) if found else ""


texts = {path: path.read_text(encoding="utf-8") for path in Path("src").rglob("*.py")}
sizes = sorted(((len(text.splitlines()), path) for path, text in texts.items()), reverse=True)
wrong = False
for lines, path in sizes:
    if lines <= ARGUE or EXEMPT & set(path.parts):
        continue
    reason = reason_of(texts[path])
    if lines > FAIL:
        reason = "TOO LARGE: split it"
    elif not reason:
        reason = 'NO REASON: split it by subject, or let its docstring say "Long, because ..."'
    wrong = wrong or lines > FAIL or reason.startswith("NO REASON")
    print(f"{lines:5}  {path}  {reason}")
print(f"{len(sizes)} modules, {sum(n for n, _ in sizes)} lines, largest {sizes[0][0]}")
sys.exit(wrong)
