# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  prose
"""Write the generated pages of docs/reference from the code; `--check` only compares.

The schema, the flags and the table of log lines are the truth; a test fails when a page is out of date.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import reference_inside as inside
from tools import reference_metrics, reference_move, rooms

from tidegate.cli.main import app
from tidegate.config.formats import PARSERS
from tidegate.config.legacy import OLDER
from tidegate.config.schema import Settings
from tidegate.config.schema.base import trait
from tidegate.config.schema.walk import declared, dotted, is_model, variable
from tidegate.doors.http.edge import HTTP_FIELDS
from tidegate.events import kinds
from tidegate.events.sinks.lines import FIELDS, LOCATION_FIELDS, OPERATIONS, SENDERS, Line, line_of
from tidegate.model import NOWHERE, Action
from tidegate.resources import Limits, LimitSettings
from tidegate.server.limit_table import limit_rows
from tidegate.vfs.failures import BURST, REFILL_SECONDS, REQUEST, SERVER, STORAGE

ROOT = Path(__file__).resolve().parent.parent
LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error"}
HEAD = "<!-- Made by tools/generate_reference.py from the code; `make docs` writes it again. -->\n\n"


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table(headers: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
    lines += [f"| {' | '.join(map(escaped, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


# --- configuration ------------------------------------------------------------------------------------------


def type_words(annotation: Any, metadata: list[Any]) -> str:
    origin = get_origin(annotation)
    if origin is list:
        return f"list of {type_words(get_args(annotation)[0], [])}s"
    if origin is dict or annotation is dict:
        return "table"
    if origin is not None and "Literal" in str(origin):
        return "one of " + ", ".join(f"`{value or chr(34) * 2}`" for value in get_args(annotation))
    words = {int: "number", float: "number", str: "text", bool: "true/false"}.get(annotation, "value")
    least = next((m.ge for m in metadata if hasattr(m, "ge")), None)
    most = next((m.le for m in metadata if hasattr(m, "le")), None)
    if least is not None and most is not None:
        words += f" {least} to {most}"
    return words


def configuration() -> str:
    """The page of keys."""
    page = HEAD + "# Configuration\n\n"
    page += (
        "One file in the configuration directory (`--config-dir`, default `.`), named `tidegate` with one of the "
        f"extensions {', '.join(f'`{suffix}`' for suffix in PARSERS)}; another name with `--config-file`. No file is "
        "needed: defaults and variables hold. All formats say the same; relative file names are relative to the "
        "configuration directory. `tidegate check` names every mistake, `tidegate config show` every value and "
        "where it came from.\n\n"
        "## Precedence\n\n"
        "Strongest first:\n\n"
        "1. `TIDEGATE_<SECTION>__<KEY>` variables; list elements by index "
        f"(`{variable(('sftpd', 'bindings', 0, 'port'))}`), lists comma separated or as JSON\n"
        "2. the same in files of `env.d` in the configuration directory (`KEY=VALUE` lines; the first file by name "
        "wins)\n"
        "3. `SFTPGO_<SECTION>__<KEY>` variables, then those of `env.d`\n"
        "4. the configuration file\n"
        "5. defaults\n\n"
        "A list given by a stronger source replaces the whole list; an element given by index replaces that "
        "element. An unknown key or variable is an error. Keys of the compatible configuration that this version "
        "does not act on are accepted, and reported at start when they are set to more than an off value.\n"
    )
    for name, section in Settings.model_fields.items():
        if trait(section, "available") is False:
            continue
        page += f"\n## `{name}`\n\n{section.description}\n\n"
        rows = []
        for path, field in declared(section.annotation, (name,)):  # type: ignore[arg-type]
            if trait(field, "available") is False:
                continue
            doc = field.description or ""
            if unit := trait(field, "unit"):
                doc += f" Unit: {unit}."
            if trait(field, "secret"):
                doc += " Masked wherever it is shown."
            shown = "" if is_model(field.annotation) else f"`{json.dumps(field.default)}`"
            rows.append((f"`{dotted(path[1:])}`", type_words(field.annotation, field.metadata), shown, doc))
        page += table(("key", "type", "default", "meaning"), iter(rows))
    page += "\n## Older names\n\n"
    page += (
        "Still accepted. Within one source the name of today wins if both are given, and the older one is "
        "reported; between sources the stronger source wins, whichever name it uses.\n\n"
    )
    page += table(
        ("older key", "today", "remark"),
        (
            (f"`{dotted(o.path)}`", f"`{dotted(o.now)}`" if o.now else "", o.doc)
            for o in sorted(OLDER.values(), key=lambda o: dotted(o.path))
        ),
    )
    page += "\n## Accepted, not available in this version\n\n"
    page += table(("key", "what it is for"), iter(unavailable()))
    return page


def unavailable() -> list[tuple[str, str]]:
    return [
        (f"`{dotted(path)}`", field.description or "")
        for path, field in declared()
        if trait(field, "available") is False
    ]


# --- command line -------------------------------------------------------------------------------------------


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "list_commands", None)
    if inner is None:
        yield name, command
        return
    for sub in inner(None):
        yield from commands(command.get_command(None, sub), f"{name} {sub}")


def flag_rows(command: Any) -> Iterator[tuple[str, str, str, str]]:
    for parameter in command.params:
        if parameter.name in ("help", "install_completion", "show_completion"):
            continue
        if parameter.param_type_name == "argument":
            written = f"`{parameter.name.upper()}`"
        else:
            written = ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])
            if parameter.metavar and not parameter.is_flag:
                written += f" {parameter.metavar}"
        default = parameter.default
        shown = (
            ""
            if default is None or default is False or default == "" or callable(default)
            else f"`{default}`"
        )
        variables = parameter.envvar or []
        first = variables if isinstance(variables, str) else next(iter(variables), "")
        yield written, shown, f"`{first}`" if first else "", " ".join((parameter.help or "").split())


def cli() -> str:
    """The page of commands."""
    page = HEAD + "# Command line\n\n"
    page += (
        "Every command explains itself with `--help`. An error is one line on standard error and exit code 1; "
        "`TIDEGATE_DEBUG=1` shows where it happened. Flags have variables: each `TIDEGATE_` name below is accepted "
        "with the prefix `SFTPGO_` too, and in the files of `env.d`. A password is asked for, or read from standard "
        "input or a file; only `portable` takes one on the command line.\n"
    )
    for name, command in commands(typer.main.get_command(app), "tidegate"):
        page += f"\n## `{name}`\n\n{inspect.cleandoc(command.help or '')}\n\n"
        rows = list(flag_rows(command))
        if rows:
            page += table(("flag", "default", "variable", "meaning"), iter(rows))
    return page


# --- logs ---------------------------------------------------------------------------------------------------


def sample_lines() -> Iterator[Line]:
    """One line of each event kind."""
    for kind in inside.event_kinds():
        if (line := line_of(inside.event_of(kind))) is not None:
            yield line
    yield from (
        line for line in [line_of(kinds.Transferred(NOWHERE, 0.0, Action.DOWNLOAD, command="RETR"))] if line
    )


def logs() -> str:
    """The page of log lines."""
    page = HEAD + "# Logs\n\n"
    page += (
        "JSON, one object a line; every line begins with `time` (UTC, milliseconds), `level` (`debug`, `info`, "
        "`warn`, `error`) and `sender`. The senders below are records of what clients did; any other sender is the "
        "module or library that speaks, with its text in `message` and, after an error, its traceback in `error`. "
        "Lines of one connection share `connection_id`.\n\n"
        "Passwords, hashes, private keys and tokens are taken out of every line (`********`). Strange characters in "
        "names are escaped; bytes that are not UTF-8 appear as `\\udcXX`.\n\n"
        "Administrators read it in the [web admin](../how_to/use-the-web-admin.md#logs), by `tidegate logs` and over "
        "REST (`GET /api/v2/logs`).\n\n"
        "Where `common.geoip` has databases, lines of connections and logins have `country` and `asn` besides.\n\n"
        "Logins (`connection_failed`, `connected`) are marked `debug` for the tools that look for them and written "
        "at `--log-level info` too. `--log-level trace` adds a line of sender `trace` for each SSH channel, SFTP request, "
        "FTP command and HTTP request; [the log in syslog](../how_to/send-the-log-to-syslog.md) shows one.\n\n"
        "Each request that fails has a line: `refused` where a rule said no, `failed` otherwise. The rule of a `failed` "
        f"line is `{STORAGE}` if the storage could not do it (`errno` says why, in the system's word), `{REQUEST}` if it "
        f"can be done nowhere, `{SERVER}` if not now. Most are of level `info`, `warn` where the storage itself is in "
        "trouble. So that a client that polls does not fill the log, a line is of level `debug` if something was looked "
        "at that does not exist (a stat), if the session failed in the same way on the same path before, or if it has "
        f"written {BURST} such lines already (one more each {REFILL_SECONDS:g} s); `muted` of its next line counts "
        "them.\n\n"
        "The file has mode 0600. It is rotated at `--log-max-size` MB and on SIGUSR1; rotated files stand beside it "
        "as `<name>-<time>.log` (`.gz` with `--log-compress`). If the disk fails or is too slow, lines are lost, the "
        "loss is logged, and the server goes on.\n\n## Senders\n\n"
    )
    fields = {line.sender: line for line in sample_lines()}
    page += table(
        ("sender", "level", "when", "fields"),
        [
            (
                f"`{sender}`",
                LEVELS[fields[sender].level if sender in fields else logging.INFO],
                meaning,
                ", ".join(f"`{n}`" for n in fields[sender].fields) if sender in fields else "as `Rename`",
            )
            for sender, meaning in SENDERS.items()
        ]
        + [
            (
                "`httpd`",
                "info",
                "A request of the REST API was answered.",
                ", ".join(f"`{n}`" for n in HTTP_FIELDS),
            )
        ],
    )
    page += (
        "\nAll of "
        + ", ".join(f"`{name}`" for name in OPERATIONS)
        + " have the same fields.\n\n## Fields\n\n"
    )
    page += table(
        ("field", "meaning"),
        (
            (f"`{name}`", meaning)
            for name, meaning in sorted((FIELDS | HTTP_FIELDS | LOCATION_FIELDS).items())
        ),
    )
    return page


# --- limits -------------------------------------------------------------------------------------------------

EXAMPLE_DESCRIPTORS = 524_288
EXAMPLE_MEMORY = 8 << 30


def limits() -> str:
    """The page of limits, with the numbers of an example machine."""
    page = HEAD + "# Limits\n\n"
    page += (
        "Everything that a peer can make grow, its limits by connection, source, account and process, and what "
        "happens when one is reached. A source is what counts as one client: an IPv4 address or the /64 of an "
        "IPv6 address, unless `common.source_prefix4` and `common.source_prefix6` say otherwise. Limits of the "
        "process hold for one server; several servers on one data provider have their own each.\n\n"
        "Some limits follow from the machine unless a key sets them. At start the soft limit on file descriptors "
        "is raised to the hard one (`LimitNOFILE=` in a unit, `ulimit -Hn` in a shell); limits on open files "
        "follow from it, so that they leave room for connections, the log and the data provider. The numbers here "
        f"are those of a process with {EXAMPLE_DESCRIPTORS} descriptors and {EXAMPLE_MEMORY >> 30} GiB of memory "
        "and the default configuration; `tidegate check` prints those of yours, of FTP and WebDAV if they are switched on.\n\n"
    )
    example = Limits.derive(LimitSettings(), descriptors=EXAMPLE_DESCRIPTORS, memory=EXAMPLE_MEMORY)
    page += table(
        ("resource", "a connection", "a source", "an account", "in all", "keys", "when reached"),
        (
            (
                row.resource,
                row.connection,
                row.source,
                row.account,
                row.process,
                ", ".join(f"`{key}`" for key in row.keys),
                row.consequence,
            )
            for row in limit_rows(Settings(), example, every_door=True)
        ),
    )
    page += (
        "\n## In the log\n\n"
        "A limit of the ledger that is reached is logged once, as a warning of sender `tidegate.resources` that "
        "begins with `limit reached:` and names the key; once there is room again, `limit no longer reached:` says "
        "how often it refused. A limit that is reached again within a minute is not logged again. Connections "
        "that are refused have a line for each rule at most every 5 seconds, with the number of those between.\n\n"
        "## Connections that have not logged in\n\n"
        "`sftpd.max_startups` is written as OpenSSH's `MaxStartups`: `start:rate:full`. While fewer than `start` "
        "connections have not logged in, everybody may come. From there on each new connection takes the place of "
        "the one that has been silent longest: first of those that never sent anything, then of those that have "
        "not begun to log in; those that are younger than a second or are logging in keep theirs. If nobody can "
        "make room, `rate` percent of new connections are refused at random, rising to all of them at `full`. "
        "From `start` on, a source with more than `sftpd.max_startups_per_source` such connections makes room "
        "among its own.\n\n"
        "A connection that sends nothing for `sftpd.silent_timeout` before it begins to log in is closed; from "
        "there on a person may be typing, and `sftpd.login_timeout` holds for the whole.\n"
    )
    return page


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "cli.md": cli,
    "logs.md": logs,
    "limits.md": limits,
    "sftp.md": lambda: HEAD + inside.sftp(),
    "errors.md": lambda: HEAD + inside.error_page(),
    "permissions.md": lambda: HEAD + inside.permissions(),
    "metrics.md": lambda: HEAD + reference_metrics.page(),
    "events.md": lambda: HEAD + inside.events(),
    "sftpgo-fields.md": lambda: HEAD + reference_move.page(),
}


def main(arguments: list[str]) -> int:
    folder = ROOT / "docs" / "reference"
    stale = 0
    for name, make in PAGES.items():
        path, text = folder / name, re.sub(r"[ \t]+\n", "\n", make())
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if "--check" in arguments:
            print(f"{path} is out of date: make docs")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    text = rooms.PAGE.read_text(encoding="utf-8")
    if (fresh := rooms.page(text)) != text:
        stale += 1
        if "--check" in arguments:
            print(f"{rooms.PAGE} is out of date: make docs")
        else:
            rooms.PAGE.write_text(fresh, encoding="utf-8")
            print(f"wrote {rooms.PAGE}")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
