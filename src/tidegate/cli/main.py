# SPDX-License-Identifier: Apache-2.0
"""The command ``tidegate``.

Modules of commands import nothing heavy at their top, so that every command starts quickly; an error is
one line on standard error and exit code 1. ``TIDEGATE_DEBUG=1`` shows the traceback.
"""

from __future__ import annotations

import os
import re
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from tidegate import hints
from tidegate.cli import flags
from tidegate.cli.strangers import elsewhere
from tidegate.cli.terminal import visible
from tidegate.errors import BadRecords, ConfigError, TidegateError

if TYPE_CHECKING:
    from collections.abc import Callable

# asyncssh would load it, 28 modules, for keys that are plugged into this machine: no server has any.
sys.modules.setdefault("fido2.client", None)  # type: ignore[arg-type]  # absent, for the import system

COMMANDS: Final = {
    "serve": ("serve", "serve"),
    "portable": ("portable", "portable"),
    "user": ("accounts", "app"),
    "group": ("groups", "app"),
    "role": ("groups", "roles"),
    "folder": ("folders", "app"),
    "admin": ("admins", "app"),
    "api-key": ("api_keys", "app"),
    "connections": ("connections", "app"),
    "logs": ("logs", "logs"),
    "locks": ("locks", "app"),
    "quota": ("quotas", "app"),
    "storage": ("storage", "app"),
    "rules": ("event_rules", "app"),
    "actions": ("event_rules", "actions"),
    "events": ("events", "app"),
    "ban": ("ban", "app"),
    "ip-list": ("ban", "lists"),
    "quarantine": ("quarantine", "app"),
    "explain": ("explain", "explain"),
    "check": ("check", "check"),
    "status": ("status", "status"),
    "probe": ("probe", "probe"),
    "config": ("show", "app"),
    "initprovider": ("schema", "initprovider"),
    "revertprovider": ("schema", "revertprovider"),
    "resetprovider": ("schema", "resetprovider"),
    "dumpdata": ("backup", "dumpdata"),
    "loaddata": ("backup", "loaddata"),
    "secrets": ("secrets", "app"),
    "import": ("imports", "app"),
    "version": ("version", "version"),
}
"""Command name to the module of this room and what it is there."""

_USAGE_ERROR: Final[type[Exception]] = next(
    kind
    for kind in typer.BadParameter.__mro__
    if issubclass(kind, Exception) and kind.__name__ == "ClickException"
)
"""The parser's own error; where it is imported from differs between versions of typer."""

_GO_SWITCHES: Final = {
    "--log-verbose": ("--log-verbose", "--no-log-verbose"),
    "--log-compress": ("--log-compress", ""),
}
"""Switches that other servers' units write as ``--switch=true`` or ``=false``, and how ours are written."""

_UNKNOWN_COMMAND: Final = re.compile(r"No such command '([^']*)'")

_COMPLETION: Final = ("--show-completion", "--install-completion")
"""Flags that the parser knows without a value; with the name of a shell after them they are answered here."""

_VARIABLES: Final = re.compile(r" \(env var: '[^)]*'\)")
"""The parser's list of variables in an error; the help page has them."""


class Commands(TyperGroup):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help page."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One command, None if there is no such."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module, name = COMMANDS[cmd_name]
            found = getattr(import_module(f"tidegate.cli.{module}"), name)
            command = typer.main.get_command(found if isinstance(found, typer.Typer) else _single(found))
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands[cmd_name]


def _single(function: Callable[..., Any]) -> typer.Typer:
    single = typer.Typer(add_completion=False, context_settings=flags.CONTEXT, pretty_exceptions_enable=False)
    single.command()(function)
    return single


app = typer.Typer(
    name="tidegate",
    cls=Commands,
    help="A file-transfer gateway: SFTP in front of your disks, with accounts, policy and evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=flags.CONTEXT,
    epilog="Share a directory right now:  tidegate portable -d DIR",
)


def _tell_version(asked: bool) -> None:
    if asked:
        from tidegate.cli.version import version

        version()
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A file-transfer gateway: SFTP in front of your disks, with accounts, policy and evidence."""


def run(args: list[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    args = sys.argv[1:] if args is None else args
    if os.name == "nt":
        return _fail("does not run on Windows itself; WSL 2, a container or a virtual machine with Linux do")
    if os.environ.get("_TIDEGATE_COMPLETE") == "words":
        from tidegate.cli.completion import answer

        return answer(app)
    if args and args[0] in _COMPLETION and len(args) == 2:
        return _completion(*args)
    debug = os.environ.get("TIDEGATE_DEBUG", "") not in ("", "0")
    hints.remember(args)
    try:
        code = app(_as_ours(args), prog_name="tidegate", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return _fail("interrupted")
    except typer.Abort:
        return _fail("interrupted")
    except typer.Exit as done:
        return done.exit_code
    except _USAGE_ERROR as error:
        return _usage(error)
    except BrokenPipeError:
        # The reader went away (`| head`); nothing more can be told to anybody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ConfigError as error:
        if debug:
            raise
        for problem in error.problems:
            _fail(str(problem))
        return 1
    except BadRecords as error:
        if debug:
            raise
        for mistake in error.mistakes:
            _fail(mistake)
        return 1
    except TidegateError as error:
        if debug:
            raise
        return _fail(str(error))
    except OSError as error:
        if debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}")
    except Exception as error:
        if debug:
            raise
        return _fail(f"unexpected {type(error).__name__}: {error} (TIDEGATE_DEBUG=1 shows where)")


def _completion(flag: str, shell: str) -> int:
    """Print or install the completion of a shell."""
    from typer import _completion_shared as made
    from typer._completion_classes import completion_init

    from tidegate.cli.completion import SCRIPTS

    completion_init()
    # Ours hold percent signs, and the parser fills in its own by them.
    made._completion_scripts.update({name: text.replace("%", "%%") for name, text in SCRIPTS.items()})  # noqa: SLF001
    shells = [known.value for known in made.Shells]
    if shell not in shells:
        return _fail(f"{flag}: {shell!r} is not one of {', '.join(shells)}")
    if flag == "--install-completion":
        _, path = made.install(shell=shell, prog_name="tidegate", complete_var="_TIDEGATE_COMPLETE")
        sys.stdout.write(f"completion of {shell} installed in {path}; open a new terminal\n")
    else:
        script = made.get_completion_script(
            prog_name="tidegate", complete_var="_TIDEGATE_COMPLETE", shell=shell
        )
        sys.stdout.write(f"{script}\n")
    return 0


def _as_ours(args: list[str]) -> list[str]:
    found: list[str] = []
    for arg in args:
        name, _, value = arg.partition("=")
        on, off = _GO_SWITCHES.get(name, ("", ""))
        ours = {"true": on, "1": on, "false": off, "0": off}.get(value.lower(), arg) if on else arg
        if ours or not on:
            found.append(ours)
    return found


def _usage(error: Any) -> int:
    """A command line that cannot be understood; without any command, the help page."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{error.format_message()}\n")
        return 0
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    text = _VARIABLES.sub("", error.format_message())
    if type(error).__name__ == "NoSuchOption" and (instead := elsewhere(context, error.option_name)):
        return _fail(f"No such option: {error.option_name}: {instead}{hint}")
    unknown = _UNKNOWN_COMMAND.match(text)
    if unknown and context is not None and "Did you mean" not in text:
        near = get_close_matches(unknown[1], context.command.list_commands(context), n=1, cutoff=0.6)
        text = f"{text.rstrip('.')}. Did you mean {near[0]!r}?" if near else text
    return _fail(f"{text.rstrip('.')}{hint}")


def _fail(text: str) -> int:
    sys.stderr.write(f"tidegate: {visible(' '.join(text.split()))}\n")
    return 1


def main() -> None:
    """Entry point of the command."""
    from tidegate.cli.environment import export_flags

    try:
        export_flags(sys.argv[1:])
    except TidegateError as error:
        sys.exit(_fail(str(error)))
    sys.exit(run())
