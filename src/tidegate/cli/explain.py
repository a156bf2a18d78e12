# SPDX-License-Identifier: Apache-2.0
"""``tidegate explain``: why something is allowed or refused."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli import flags, names
from tidegate.cli.provider import opened, run
from tidegate.cli.spread import spread
from tidegate.cli.where import ApiKeyFile, TlsCa, TokenFile, Url, Where
from tidegate.errors import NotFound

if TYPE_CHECKING:
    from tidegate.config.load import Loaded
    from tidegate.hooks.rehearsing import HookAnswers
    from tidegate.model import Account
    from tidegate.model.geography import Location
    from tidegate.policy.decision import Step
    from tidegate.policy.explain import Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainFlags:
    """Flags of the command."""

    user: Annotated[
        str,
        typer.Option("--user", "-u", help="Whose account.", show_default=False, autocompletion=names.users),
    ] = ""
    op: Annotated[
        str,
        typer.Option(
            "--op",
            help="What they want: list, upload, download, delete, rename, git_push, rsync_read, ...",
            show_default=False,
            autocompletion=names.operations,
        ),
    ] = ""
    connect: Annotated[
        str,
        typer.Option(
            "--connect",
            metavar="IP",
            help="Instead of --user and --op: may this address connect? With --url a running server is "
            "asked; it knows its penalties, scores, open connections and rate limits.",
            show_default=False,
        ),
    ] = ""
    path: Annotated[str, typer.Option("--path", help="Path as the client knows it.")] = "/"
    ip: Annotated[str, typer.Option("--ip", help="Where the client is.")] = "127.0.0.1"
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="SFTP, SCP, SSH for another SSH command, FTP (in the clear), FTPS (FTP by TLS), DAV, DAVS.",
            autocompletion=names.protocols,
        ),
    ] = "SFTP"
    target: Annotated[str | None, typer.Option("--target", help="Second path of a rename, copy or link.")] = (
        None
    )
    target_exists: Annotated[
        bool, typer.Option("--target-exists", help="The second path is there already and would be replaced.")
    ] = False
    method: Annotated[
        str | None, typer.Option("--method", help="Login method: password, publickey, ... Without it, any.")
    ] = None
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate",
            help="File of the certificate that they log in with: of SSH (`...-cert.pub`), for FTPS of TLS.",
            show_default=False,
        ),
    ] = None
    size: Annotated[str | None, typer.Option("--size", help="Size of the file, for instance 10M.")] = None
    replaced: Annotated[
        str | None,
        typer.Option(
            "--replaced", metavar="SIZE", help="The file is there already; its size, which is given back."
        ),
    ] = None
    look: Annotated[
        bool,
        typer.Option(
            "--try",
            help="Look at the storage too: is it there, may whoever runs this read or write it, is there "
            "space. Run it as the server's user.",
        ),
    ] = False
    ask: Annotated[
        bool,
        typer.Option("--ask", help="Ask the hooks of this login too; nothing that they answer is stored."),
    ] = False
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="With --ask: the password, from standard input.")
    ] = False
    config_dir: flags.ConfigDir = flags.HERE
    config_file: flags.ConfigFile = flags.FILE
    as_json: flags.AsJson = False

    @property
    def by_tls(self) -> bool:
        """True if a certificate would be one of TLS."""
        return self.protocol.upper() not in ("SFTP", "SCP", "SSH")

    @property
    def shown_method(self) -> str | None:
        """The login method, which a certificate implies."""
        if self.certificate is None or self.method is not None:
            return self.method
        return "TLSCertificate" if self.by_tls else "publickey"

    def require_words(self) -> None:
        """Return if address, protocol and method are some.

        Raises:
            BadParameter: names the flag.
        """
        from tidegate.policy import mistakes

        missing = [flag for flag, value in (("--user", self.user), ("--op", self.op)) if not value]
        if missing:
            raise typer.BadParameter("is needed, unless --connect is given", param_hint=missing[0])
        for flag, wrong in (
            ("--ip", mistakes.address(self.ip)),
            ("--protocol", mistakes.door(self.protocol)),
            ("--method", None if self.method is None else mistakes.method(self.method)),
        ):
            if wrong is not None:
                raise typer.BadParameter(wrong, param_hint=flag)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFlags:
    """The running server that is asked, with --connect."""

    url: Url = ""
    token_file: TokenFile = None
    api_key_file: ApiKeyFile = None
    tls_ca: TlsCa = None


@spread
def explain(*, given: ExplainFlags, server: ServerFlags) -> None:
    """Show every rule that is asked about an act, in order, and which one decides.

    Exit code 0 means allowed, 3 refused, or that the storage cannot be used.
    """
    if given.connect:
        from tidegate.cli.explain_connect import explained

        where = Where(
            config_dir=given.config_dir, config_file=given.config_file, url=server.url,
            token_file=server.token_file, api_key_file=server.api_key_file, tls_ca=server.tls_ca,
        )  # fmt: skip
        if not run(explained(given.connect, given.protocol, where, as_json=given.as_json)):
            raise typer.Exit(3)
        return
    if server.url:
        raise typer.BadParameter("needs --connect", param_hint="--url")
    given.require_words()
    if not run(_explain(given)):
        raise typer.Exit(3)


async def _explain(given: ExplainFlags) -> bool:
    """Print the answer; True if the act is allowed and its storage can be used."""
    import sys

    from tidegate.accounts.names import fold_name
    from tidegate.cli.terminal import say_json
    from tidegate.policy.explain import safe
    from tidegate.server.inspectors import inspectors_of

    async with opened(given.config_dir, given.config_file) as context:
        name = fold_name(given.user, context.rules)
        account = await context.provider.user(name)
        source = ""
        if context.loaded.settings.identity.openbridge.host:
            from tidegate.cli.openbridge import account_of
            from tidegate.identity.stages import with_usage

            live, source = await account_of(context.loaded, name)
            if live is not None:
                record = account or await context.provider.external(name)
                account = live if record is None else with_usage(live, record, brings_tally=True)
    hooks: HookAnswers | None = None
    if context.loaded.settings.has_hooks:
        from tidegate.cli.explain_hooks import hooks_of_login

        hooks = await hooks_of_login(given, context.loaded, name, account)
        account = hooks.account
    inherited: Mapping[str, Sequence[str]] = {}
    if account is not None and account.groups:
        from tidegate.accounts.effective import effective

        async with opened(given.config_dir, given.config_file) as context:
            resolved = await effective(context.provider, context.rules).resolved(account)
        account, inherited = resolved.account, resolved.origins
    if account is None:
        hint = hooks.unknown if hooks is not None else ""
        raise NotFound(f"no such user: {given.user}{hint}")
    proofs = _certificate(given, account, context.loaded)
    answer = _ask(given, account, context.loaded, proofs, await _location(given.ip, context.loaded))
    storage = await _storage(given, account, context.loaded, allowed=answer.decision.allowed)
    asked = inspectors_of(context.loaded, answer.intent) if answer.decision.allowed else []
    if given.as_json:
        document = answer.to_document()
        more: dict[str, object] = {"storage": storage} if storage else {}
        more |= {"hooks": hooks.documents} if hooks is not None else {}
        more |= {"account_from": source} if source else {}
        more |= {"inherited": {name: list(of) for name, of in inherited.items()}} if inherited else {}
        say_json({**document, **more, **({"inspectors": asked} if asked else {})})
    else:
        if storage and answer.decision.allowed:
            sys.stdout.write(f"would fail: storage: {storage}\n")
        sys.stdout.write(answer.render_text())
        for field, groups in inherited.items():
            sys.stdout.write(f"{safe(field)} from group {safe(', '.join(groups))}\n")
        if source:
            sys.stdout.write(f"account from {safe(source)}\n")
        if hooks is not None:
            sys.stdout.write(hooks.text)
        if asked:
            sys.stdout.write(f"asked then, and may refuse: {', '.join(asked)}\n")
    return answer.decision.allowed and not storage and not (hooks is not None and hooks.refused)


def _certificate(given: ExplainFlags, account: Account, loaded: Loaded) -> Sequence[Step]:
    """The rules about the certificate that is given, none without one."""
    if given.certificate is None:
        return ()
    if given.by_tls:
        return _tls_certificate(given.certificate, account, loaded)
    from tidegate.accounts.keys import certificate_blob
    from tidegate.cli.terminal import read_text
    from tidegate.errors import BadRecord, InvalidArgument
    from tidegate.identity.certificates.wire import read_certificate
    from tidegate.server.certificates import user_certificates

    try:
        certificate = read_certificate(certificate_blob(read_text(given.certificate, "--certificate")))
    except BadRecord as error:
        raise InvalidArgument(f"--certificate {given.certificate}: {error.what}") from None
    judge = user_certificates(loaded)
    if judge is None:
        raise InvalidArgument("sftpd.trusted_user_ca_keys names no authority: certificates are not taken")
    return judge.steps(certificate, account.username, given.ip)


def _tls_certificate(path: Path, account: Account, loaded: Loaded) -> Sequence[Step]:
    """The rules about a TLS client certificate."""
    from tidegate.cli.terminal import read_text
    from tidegate.errors import InvalidArgument
    from tidegate.server.certificates import client_certificate_steps

    try:
        return client_certificate_steps(read_text(path, "--certificate").encode(), account, loaded)
    except ValueError as error:
        raise InvalidArgument(f"--certificate {path}: {error}") from None


async def _location(address: str, loaded: Loaded) -> Location:
    """The location of an address, as the databases of the configuration have it."""
    from tidegate.model.geography import NO_LOCATION
    from tidegate.server.address_checks import geo_check

    check = await geo_check(loaded)
    return NO_LOCATION if check is None else check.databases.locate(address)


def _ask(
    given: ExplainFlags, account: Account, loaded: Loaded, proofs: Sequence[Step], location: Location
) -> Explanation:
    from tidegate.policy.explain import Usage, explain
    from tidegate.policy.mistakes import protocol_of

    protocol, encrypted = protocol_of(given.protocol)

    return explain(
        account,
        ip=given.ip,
        protocol=protocol,
        encrypted=encrypted,
        location=location,
        op=given.op,
        path=given.path,
        target=given.target,
        target_exists=given.target_exists,
        rename_onto=loaded.settings.sftpd.strictest_rename_onto,
        names=loaded.settings.common.file_patterns.entry,
        method=given.shown_method,
        proofs=proofs,
        commands=loaded.settings.sftpd.enabled_ssh_commands,
        size=None if given.size is None else flags.size(given.size),
        replaced=None if given.replaced is None else flags.size(given.replaced),
        usage=Usage(tracked=bool(loaded.settings.data_provider.track_quota)),
        now_ms=time.time_ns() // 1_000_000,
    )


async def _storage(given: ExplainFlags, account: Account, loaded: Loaded, *, allowed: bool) -> str | None:
    """The reason why storage cannot be used; None if it can, or was not looked at."""
    from tidegate.model import VPath
    from tidegate.policy.folders import storage_at
    from tidegate.server import wiring

    # A session cannot begin without the home; folders are opened when they are used.
    used = ["/", given.path, *([given.target] if given.target else [])]
    kinds = wiring.storage_kinds(loaded)
    problems = [kinds.mistake(storage_at(account, VPath.parse(text))) for text in used]
    storage = next((problem for problem in problems if problem), None)
    if given.look and storage is None and allowed:
        from tidegate.cli.trial import storage_answer

        return await storage_answer(account, given.op, given.path, given.target)
    return storage
