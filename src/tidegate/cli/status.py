# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate status``: the health of a running server in one line, as Nagios and its relatives read it."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from tidegate.cli import flags
from tidegate.cli.terminal import say, say_json

MAX_ANSWER: Final = 1 << 20
"""Bytes of an answer that are read."""

OK, WARNING, CRITICAL, UNKNOWN = range(4)
"""Exit codes."""
WORDS: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
CODES: Final = {"ok": OK, "warn": WARNING, "fail": CRITICAL}


class Unreachable(Exception):
    """No report came.

    Args:
        text: why.
        code: exit code.
    """

    def __init__(self, text: str, code: int = CRITICAL) -> None:
        super().__init__(text)
        self.code = code


def status(
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    url: Annotated[
        str,
        typer.Option(
            "--url",
            help="Address of the server's telemetry or HTTP listener; else that of the configuration.",
        ),
    ] = "",
    user: Annotated[
        str, typer.Option("--user", help="Name in telemetry.auth_user_file: tells why, not only what.")
    ] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="File with the password of --user.")
    ] = None,
    authority: flags.Authority = None,
    seconds: Annotated[
        float, typer.Option("--timeout", help="Seconds of silence that are waited for.", min=0.1, max=300)
    ] = 10.0,
    as_json: flags.AsJson = False,
) -> None:
    """Tell the health of a running server in one line.

    Exit codes: 0 all is well, 1 something needs attention, 2 something does not work or the server does not
    answer, 3 it cannot be told.
    """
    try:
        own = False
        if not url:
            url, certificate = _of_configuration(config_dir.absolute(), config_file)
            if certificate is not None and authority is None:
                authority, own = certificate, True
        document = ask(url, user, password_file, authority, seconds, own_certificate=own)
    except Unreachable as error:
        if as_json:
            say_json({"status": WORDS[error.code].lower(), "error": str(error)})
        else:
            say(f"TIDEGATE {WORDS[error.code]} - {error}")
        raise typer.Exit(error.code) from None
    if as_json:
        say_json(document)
    else:
        say(line_of(document))
    raise typer.Exit(CODES.get(str(document.get("status")), UNKNOWN))


def line_of(document: dict[str, Any]) -> str:
    """A report in one line, with figures after the bar, as plugins of Nagios print them."""
    code = CODES.get(str(document.get("status")), UNKNOWN)
    found = document.get("checks")
    checks = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    wrong = [one for one in checks if one.get("status") != "ok"]
    texts = [f"{one.get('name')}: {one.get('text') or one.get('status')}" for one in wrong or ()]
    told = "; ".join(texts) or f"{len(checks)} checks"
    figures = []
    for one in checks:
        if (elapsed := _number(one, "elapsed_ms")) is not None:
            figures.append(f"{_word(one.get('name'))}={elapsed / 1000:.4f}s")
        if (free := _number(one, "free_percent")) is not None:
            figures.append(f"free={free}%")
        if (days := _number(one, "days_left")) is not None:
            figures.append(f"certificate_days={days}")
    line = " ".join(f"TIDEGATE {WORDS[code]} - {told}".replace("|", "/").split())
    return f"{line} | {' '.join(figures)}" if figures else line


def _number(check: dict[str, Any], name: str) -> int | float | None:
    value = check.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _word(value: object) -> str:
    """A label of a figure: what stands for something else in the line of a plugin is replaced."""
    return re.sub(r"[\s|='\"]", "_", str(value))


def ask(
    url: str,
    user: str,
    password_file: Path | None,
    authority: Path | None,
    seconds: float,
    *,
    own_certificate: bool = False,
) -> dict[str, Any]:
    """The report of a server.

    Args:
        own_certificate: `authority` is the server's certificate, whatever name it has.

    Raises:
        Unreachable: there is none.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host:
        raise Unreachable(f"{url!r} is no URL with http or https", UNKNOWN)
    headers = {"Accept": "application/json"}
    try:
        if user:
            password = password_file.read_text(encoding="utf-8").rstrip("\r\n") if password_file else ""
            headers["Authorization"] = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=authority)
            context.check_hostname = not own_certificate
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file may hold the certificate alone
            connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=seconds)
    except (OSError, ValueError) as error:
        raise Unreachable(str(error), UNKNOWN) from None
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/readyz", headers=headers)
        answer = connection.getresponse()
        body = answer.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{host}:{port}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if answer.status not in (200, 503):
        raise Unreachable(f"{host}:{port} answers {answer.status} {answer.reason}", UNKNOWN)
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict) or "status" not in document:
        raise Unreachable(f"{host}:{port} answers no report", UNKNOWN)
    return document


def _of_configuration(directory: Path, file: str) -> tuple[str, Path | None]:
    """The URL of a server by its configuration, and its certificate if it speaks TLS.

    Raises:
        Unreachable: it has no listener for that.
    """
    from tidegate.cli.provider import load_settings

    loaded = load_settings(directory, file)
    telemetry = loaded.settings.telemetry
    if telemetry.bind_port:
        return _url(telemetry.bind_address, telemetry.bind_port, tls=bool(telemetry.certificate_file)), (
            loaded.resolve(telemetry.certificate_file) if telemetry.certificate_file else None
        )
    for binding in loaded.settings.httpd.bindings:
        if binding.port:
            certificate = loaded.resolve(binding.certificate_file) if binding.enable_https else None
            return _url(binding.address, binding.port, tls=binding.enable_https), certificate
    raise Unreachable("neither telemetry.bind_port nor a binding of httpd is on; give --url", UNKNOWN)


def _url(address: str, port: int, *, tls: bool) -> str:
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
