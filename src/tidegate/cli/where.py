# SPDX-License-Identifier: Apache-2.0
"""Flags that say where records are: a configuration of this host, or a running server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli import flags
from tidegate.errors import InvalidArgument

if TYPE_CHECKING:
    from tidegate.cli.target import Target

Url = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        show_default=False,
        help="Ask the running server at https://HOST:PORT instead of the database of this host.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="With --url: file with a token (GET /api/v2/token); - is standard input.",
    ),
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file", metavar="FILE", help="With --url: file with an API key; - is standard input."
    ),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        metavar="FILE",
        help="With --url: certificates of authorities to trust, instead of the system's.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The place of records."""

    config_dir: flags.ConfigDir = flags.HERE
    config_file: flags.ConfigFile = flags.FILE
    url: Url = ""
    token_file: TokenFile = None
    api_key_file: ApiKeyFile = None
    tls_ca: TlsCa = None

    @asynccontextmanager
    async def opened(self, *, create: bool = False) -> AsyncIterator[Target]:
        """The records.

        Args:
            create: make the database of this host if there is none.

        Raises:
            InvalidArgument: flags contradict each other.
            ConfigError, ProviderError: there is nothing to work on.
        """
        if not self.url:
            self.check_here()
            from tidegate.cli.local import LocalTarget
            from tidegate.cli.provider import opened

            async with opened(self.config_dir, self.config_file, create=create) as context:
                yield LocalTarget(context)
            return
        if create:
            raise InvalidArgument(
                "--create: a running server has its database already; leave out --url or --create"
            )
        from tidegate.cli.remote import RemoteTarget
        from tidegate.cli.rest_client import RestClient

        client = RestClient(self.url, self._credential(), self.tls_ca)
        try:
            yield RemoteTarget(client)
        finally:
            client.close()

    def check_here(self) -> None:
        """Return if no flag is given that a running server alone needs.

        Raises:
            InvalidArgument: one is.
        """
        for flag, value in self._of_servers():
            if value is not None:
                raise InvalidArgument(f"{flag}: needs --url")

    def _of_servers(self) -> list[tuple[str, Path | None]]:
        return [
            ("--token-file", self.token_file),
            ("--api-key-file", self.api_key_file),
            ("--tls-ca", self.tls_ca),
        ]

    def _credential(self) -> dict[str, str]:
        """The header that proves who asks.

        Raises:
            InvalidArgument: no file, or two, are named.
            ConfigError: the file cannot be used.
        """
        from tidegate.config.secret_files import read_secret, read_secret_from_stdin

        if (self.token_file is None) == (self.api_key_file is None):
            raise InvalidArgument("--url: needs --token-file or --api-key-file")
        file, flag = (
            (self.token_file, "--token-file")
            if self.token_file is not None
            else (self.api_key_file, "--api-key-file")
        )
        text = read_secret_from_stdin(flag) if str(file) == "-" else read_secret(Path(str(file)), flag)
        text = text.strip()
        if not text.isascii() or not text.isprintable() or " " in text:
            raise InvalidArgument(f"{flag}: {file}: this is no token or key")
        return {"Authorization": f"Bearer {text}"} if flag == "--token-file" else {"X-SFTPGO-API-KEY": text}
