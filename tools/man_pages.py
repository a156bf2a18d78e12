"""Writes what a package puts under share/: a manual page for each command, completion of three shells.

`tools/man_pages.py DIRECTORY`; everything is made from the commands themselves.
"""

import enum
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from tidegate import __version__, built
from tidegate.cli.completion import SCRIPTS
from tidegate.cli.main import app

CODE = re.compile(r"``?([^`]+)``?")
FILES = (
    (
        "tidegate.toml",
        "The configuration, in its directory; also .json, .yaml, .hcl, .properties, .env.",
    ),
    ("tidegate.db", "Accounts, where data_provider.driver is sqlite."),
    ("tidegate.log", "The log of `serve`."),
)


def plain(text: str) -> str:
    """Text that roff prints as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in text.split("\n"))


def prose(text: str) -> str:
    """Paragraphs of a docstring; words between backquotes are bold."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    return "\n.PP\n".join(CODE.sub(r"\\fB\1\\fR", plain(part)) for part in paragraphs)


def commands(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command, and all below it."""
    yield names, command
    for name, child in below(command):
        yield from commands(child, *names, name)


def below(command: Any) -> list[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        return []
    context = typer.Context(command)
    names = command.list_commands(context)
    return [(name, child) for name in names if not (child := command.get_command(context, name)).hidden]


def parameters(command: Any, kind: str) -> list[Any]:
    """Arguments or options, without those of completion, which the page of the program tells."""
    return [
        one
        for one in command.params
        if one.param_type_name == kind and not getattr(one, "hidden", False) and "completion" not in one.name
    ]


def option(one: Any) -> str:
    """An entry of the list of options."""
    names = ", ".join(f"\\fB{plain(name)}\\fR" for name in [*one.opts, *one.secondary_opts])
    value = "" if one.is_flag or one.count else f" \\fI{plain(one.metavar or one.name.upper())}\\fR"
    notes = []
    kind = getattr(one.type_descriptor, "annotation", None)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        notes.append(f"One of {', '.join(str(choice.value) for choice in kind)}.")
    if one.default not in (None, False, "", (), []) and not callable(one.default) and one.show_default:
        notes.append(f"Default: {getattr(one.default, 'value', one.default)}.")
    if variables := one.envvar:
        first = variables if isinstance(variables, str) else variables[0]
        notes.append(f"Variable: {first}.")
    return f".TP\n{names}{value}\n{prose(' '.join([one.help or '', *notes]))}\n"


def synopsis(names: tuple[str, ...], command: Any) -> str:
    words = [f"\\fB{plain(' '.join(names))}\\fR"]
    if below(command):
        words.append("\\fICOMMAND\\fR")
    if parameters(command, "option"):
        words.append("[\\fIOPTIONS\\fR]")
    for one in parameters(command, "argument"):
        name = f"\\fI{plain(one.metavar or one.name.upper())}\\fR"
        words.append(f"{name if one.required else f'[{name}]'}{'...' if one.nargs == -1 else ''}")
    return " ".join(words)


def page(names: tuple[str, ...], command: Any, date: str) -> str:
    """The page of one command."""
    title = "-".join(names)
    summary, _, rest = (command.help or "").replace("\f", "").partition("\n\n")
    summary = " ".join(summary.split())
    description = f"{summary}\n\n{rest}"
    text = f'.TH "{plain(title.upper())}" 1 "{date}" "Tidegate {__version__}" "Tidegate"\n'
    short = CODE.sub(r"\1", plain(summary.rstrip(".")))
    text += f".SH NAME\n{plain(title)} \\- {short}\n"
    text += f".SH SYNOPSIS\n{synopsis(names, command)}\n"
    text += f".SH DESCRIPTION\n{prose(description)}\n"
    if children := below(command):
        text += ".SH COMMANDS\n"
        for name, child in children:
            first = " ".join((child.help or "").partition("\n\n")[0].split())
            text += f".TP\n\\fB{plain('-'.join((*names, name)))}\\fR(1)\n{prose(first)}\n"
    if arguments := parameters(command, "argument"):
        text += ".SH ARGUMENTS\n"
        for one in arguments:
            text += f".TP\n\\fI{plain(one.metavar or one.name.upper())}\\fR\n{prose(one.help or one.name)}\n"
    if options := parameters(command, "option"):
        text += ".SH OPTIONS\n" + "".join(map(option, options))
    if len(names) == 1:
        text += ".SH FILES\n" + "".join(
            f".TP\n\\fI{plain(name)}\\fR\n{prose(what)}\n" for name, what in FILES
        )
        text += ".SH EXIT STATUS\n0 if what was asked was done; 1 otherwise, and a line on standard error.\n"
    else:
        text += f".SH SEE ALSO\n\\fB{plain('-'.join(names[:-1]))}\\fR(1)\n"
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def write(target: Path, date: str) -> list[Path]:
    """Write all pages; returns their paths."""
    target.mkdir(parents=True, exist_ok=True)
    found = []
    for names, command in commands(typer.main.get_command(app), "tidegate"):
        path = target / f"{'-'.join(names)}.1"
        path.write_text(page(names, command, date), encoding="utf-8")
        found.append(path)
    return found


COMPLETIONS = {
    "bash": "bash-completion/completions/tidegate",
    "zsh": "zsh/site-functions/_tidegate",
    "fish": "fish/vendor_completions.d/tidegate.fish",
}
"""Files of each shell, below share/."""


def main() -> None:
    share = Path(sys.argv[1])
    pages = write(share / "man" / "man1", built.DATE[:10])
    for shell, place in COMPLETIONS.items():
        (share / place).parent.mkdir(parents=True, exist_ok=True)
        (share / place).write_text(SCRIPTS[shell], encoding="utf-8")
    print(f"{len(pages)} manual pages and {len(COMPLETIONS)} completions in {share}")


if __name__ == "__main__":
    main()
