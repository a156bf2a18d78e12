# SPDX-License-Identifier: Apache-2.0
"""Completion at a shell: the scripts of bash, zsh and fish, and the answers that they ask for.

A script calls the program once for each press of the key, with the line up to the cursor in a variable, and
gets one word a line, with a tab and a description behind it. No shell evaluates what it gets: names come from
outside.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

VARIABLE: Final = "_TIDEGATE_COMPLETE"
"""``words`` asks for answers"""

LINE: Final = "_TIDEGATE_COMPLETE_LINE"
"""the line up to the cursor"""

TEXT_CHARACTERS: Final = 60
"""of a description that is shown"""

BASH: Final = r"""_tidegate_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" found word kept=""
    found=$(_TIDEGATE_COMPLETE=words _TIDEGATE_COMPLETE_LINE="$line" "$1" 2>/dev/null)
    line="${line##*[[:space:]]}"
    # A colon ends a word for readline: what stands before it is not repeated.
    if [[ $COMP_WORDBREAKS == *:* && $line == *:* ]]; then kept="${line%"${line##*:}"}"; fi
    COMPREPLY=()
    while IFS= read -r word; do
        [[ -n $word ]] || continue
        word="${word%%$'\t'*}"
        word="${word#"$kept"}"
        if [[ $word == *[^[:alnum:]/:,._@%+=-]* ]]; then printf -v word %q "$word"; fi
        COMPREPLY+=("$word")
    done <<< "$found"
}
complete -o bashdefault -o default -F _tidegate_completion tidegate
"""

ZSH: Final = r"""#compdef tidegate
_tidegate_completion() {
  local line
  local -a lines values texts
  lines=("${(@f)$(_TIDEGATE_COMPLETE=words _TIDEGATE_COMPLETE_LINE="${(j: :)words[1,CURRENT]}" ${words[1]} 2>/dev/null)}")
  for line in $lines; do
    [[ -n $line ]] || continue
    values+=("${line%%$'\t'*}")
    texts+=("${line/$'\t'/  -- }")
  done
  if (( $#values )); then compadd -l -d texts -a values; else _files; fi
}
if [[ $funcstack[1] == _tidegate ]]; then _tidegate_completion "$@"; else compdef _tidegate_completion tidegate; fi
"""  # noqa: E501

FISH: Final = r"""function __tidegate_completion
    set -lx _TIDEGATE_COMPLETE words
    set -lx _TIDEGATE_COMPLETE_LINE (commandline -cp)
    set -l program (commandline -opc)[1]
    set -l found ($program 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command tidegate --no-files --arguments '(__tidegate_completion)'
"""

SCRIPTS: Final = {"bash": BASH, "zsh": ZSH, "fish": FISH}
"""Of the shells that the tests drive; for others the parser's own are used."""


def answer(app: Any) -> int:
    """Print the words that may stand at the end of the line; nothing if there are none."""
    from typer import main
    from typer._click.shell_completion import split_arg_string
    from typer._completion_classes import BashComplete

    line = os.environ.get(LINE, "")
    words = split_arg_string(line)[1:]
    incomplete = words.pop() if words and not line[-1:].isspace() else ""
    asked = BashComplete(main.get_command(app), {}, "tidegate", VARIABLE)
    for item in asked.get_completions(words, incomplete):
        text = _short(getattr(item, "help", None) or "")
        sys.stdout.write(f"{item.value}\t{text}\n" if text else f"{item.value}\n")
    return 0


def _short(text: str) -> str:
    text = " ".join(text.split()).partition(". ")[0]
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= TEXT_CHARACTERS else f"{text[: TEXT_CHARACTERS - 3]}..."
