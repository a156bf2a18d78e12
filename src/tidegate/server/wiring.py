# SPDX-License-Identifier: Apache-2.0
"""From what the operator wrote to what each room needs to know. Pure; part of the composition root."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from tidegate import __version__
from tidegate.accounts.directories import never_given
from tidegate.accounts.homes import Homes
from tidegate.accounts.rules import Rules
from tidegate.backends.factory import StorageKinds
from tidegate.cluster.factory import create_live
from tidegate.config.load import Loaded
from tidegate.config.secret_files import read_secret
from tidegate.contracts.cluster import Live
from tidegate.doors.ssh.algorithms import Algorithms
from tidegate.doors.ssh.options import ORDER_MARK, Binding, SshOptions
from tidegate.doors.ssh.programs.options import ProgramOptions
from tidegate.events.factory import BUILT_IN, SinkUse
from tidegate.identity.passwords import HashOptions, hash_password
from tidegate.identity.service import IdentityOptions
from tidegate.identity.throttle import GuessLimits, LoginDelays
from tidegate.model import StorageConfig
from tidegate.model.sealing import SealsSecrets
from tidegate.resources import Ledger, LimitSettings, StartupLimits
from tidegate.server.secrets import sealing
from tidegate.store.options import SYSTEM_AUTHORITIES, ProviderOptions
from tidegate.vfs.usage.lease import server_name

_PROVIDER_KEYS_READ_AGAIN: Final = frozenset({"password_validation", "backups_path", "credentials_path"})
"""Keys of `data_provider` that are asked each time they are needed; the others are read at start."""

_SECTIONS_READ_AT_START: Final = (
    "events", "cluster", "inspection", "identity", "storage", "limits", "mfa", "kms", "http", "command",
    "hooks", "syslog", "sandbox",
)  # fmt: skip
LOCK_NOTES: Final = "git-locks.notes"
"""Directory in the configuration directory with notes of locks that pushes hold on storage elsewhere."""
_HOOK_KEYS: Final = {
    "common": ("startup_hook", "post_connect_hook", "post_disconnect_hook"),
    "sftpd": ("keyboard_interactive_auth_hook", "keyboard_interactive_auth_program"),
}


def keys_that_wait(running: Loaded, fresh: Loaded) -> list[str]:
    """Keys that differ and that a running server does not take over; bindings are told by their doors."""
    before, after = running.settings.data_provider, fresh.settings.data_provider
    waiting = [
        f"data_provider.{name}"
        for name in type(after).model_fields
        if name not in _PROVIDER_KEYS_READ_AGAIN and getattr(before, name) != getattr(after, name)
    ]
    doors = [
        [(one.use, one.called, one.enabled, one.counts_as) for one in loaded.settings.doors.others]
        for loaded in (running, fresh)
    ]
    if doors[0] != doors[1]:
        waiting.append("doors.others")
    waiting += [
        f"{section}.{name}"
        for section, names in _HOOK_KEYS.items()
        for name in names
        if getattr(getattr(running.settings, section), name)
        != getattr(getattr(fresh.settings, section), name)
    ]
    if running.settings.common.umask != fresh.settings.common.umask:
        waiting.append("common.umask")
    for section in _SECTIONS_READ_AT_START:
        one, other = getattr(running.settings, section), getattr(fresh.settings, section)
        waiting += [
            f"{section}.{name}"
            for name in type(other).model_fields
            if getattr(one, name) != getattr(other, name)
        ]
    return waiting


def ssh_options(loaded: Loaded) -> SshOptions:
    """Options of the SSH door from `sftpd` and `common`."""
    sftpd, common = loaded.settings.sftpd, loaded.settings.common
    banner = sftpd.banner
    if not banner:
        banner = "Tidegate" if common.server_version == "short" else f"Tidegate_{__version__}"
        banner += ORDER_MARK
    no_limit = 1 << 30
    return SshOptions(
        config_dir=loaded.config_dir,
        bindings=tuple(
            Binding(b.address, b.port, f"sftpd.bindings[{index}]", b.rename_onto)
            for index, b in enumerate(sftpd.bindings)
            if b.port
        ),
        host_keys=tuple(sftpd.host_keys),
        host_certificates=tuple(sftpd.host_certificates),
        algorithms=Algorithms(
            kex_algorithms=tuple(sftpd.kex_algorithms),
            ciphers=tuple(sftpd.ciphers),
            macs=tuple(sftpd.macs),
            host_key_algorithms=tuple(sftpd.host_key_algorithms),
            public_key_algorithms=tuple(sftpd.public_key_algorithms),
        ),
        banner=banner,
        login_banner_file=sftpd.login_banner_file,
        password_authentication=sftpd.password_authentication,
        keyboard_interactive_authentication=sftpd.keyboard_interactive_authentication,
        max_auth_tries=sftpd.max_auth_tries,
        login_seconds=float(sftpd.login_timeout),
        silent_seconds=float(sftpd.silent_timeout),
        max_startups=StartupLimits.parse(sftpd.max_startups, sftpd.max_startups_per_source),
        idle_seconds=common.idle_timeout * 60.0,
        rekey_bytes=sftpd.rekey_bytes,
        rekey_seconds=float(sftpd.rekey_seconds),
        keepalive_seconds=float(sftpd.keepalive_interval),
        keepalive_max=sftpd.keepalive_count,
        enabled_ssh_commands=tuple(sftpd.enabled_ssh_commands),
        scp_shell=sftpd.scp_shell,
        programs=ProgramOptions(
            confinement=sftpd.programs.confinement,
            seconds=float(sftpd.programs.time_limit),
            output_bytes=sftpd.programs.output_limit << 20,
            copy_bytes=sftpd.programs.copy_limit << 20,
            memory_bytes=sftpd.programs.memory_limit << 20,
            notes=str(loaded.config_dir / LOCK_NOTES),
        ),
        fast_lane=sftpd.fast_lane,
        max_connections=common.max_total_connections or no_limit,
        max_per_host=common.max_per_host_connections or no_limit,
    )


def limit_settings(loaded: Loaded) -> LimitSettings:
    """Settings of the ledger of resources."""
    limits = loaded.settings.limits
    return LimitSettings(
        reserved_descriptors=limits.reserved_descriptors,
        handles=limits.handles,
        handles_per_account=limits.handles_per_account,
        channels=limits.channels,
        buffer_bytes=limits.buffer_memory << 20,
        key_exchanges_per_connection=limits.key_exchanges_per_connection,
        key_exchanges_per_source=limits.key_exchanges_per_source,
        programs=limits.programs,
        programs_per_account=limits.programs_per_account,
        upload_parts=limits.upload_parts,
        upload_parts_per_account=limits.upload_parts_per_account,
    )


def hash_options(loaded: Loaded) -> HashOptions:
    """Options of hashing new passwords."""
    hashing = loaded.settings.data_provider.password_hashing
    return HashOptions(
        algorithm=hashing.algo,
        argon2_memory_kib=hashing.argon2_options.memory,
        argon2_iterations=hashing.argon2_options.iterations,
        argon2_parallelism=hashing.argon2_options.parallelism,
        bcrypt_cost=hashing.bcrypt_options.cost,
    )


def record_rules(loaded: Loaded) -> Rules:
    """The rules for valid accounts, folders and administrators."""
    section = loaded.settings.data_provider
    return Rules(
        users_base_dir=section.users_base_dir,
        naming_rules=section.naming_rules,
        server_dir=str(loaded.config_dir.absolute()),
        storages=storage_kinds(loaded),
    )


def identity_options(loaded: Loaded, ledger: Ledger) -> IdentityOptions:
    """Options of checking logins."""
    provider = loaded.settings.data_provider
    return IdentityOptions(
        hashing=hash_options(loaded),
        password_caching=provider.password_caching,
        naming_rules=provider.naming_rules,
        totp=tuple((one.name, one.issuer, one.algo) for one in loaded.settings.mfa.totp),
        home_refused=partial(
            never_given, base=provider.users_base_dir, server_dir=str(loaded.config_dir.absolute())
        ),
        delays=login_delays(loaded),
        spares=lambda: ledger.newcomers.spares,
        sources=ledger.sources,
        guesses=GuessLimits(
            loaded.settings.identity.guesses_per_user, loaded.settings.identity.guesses_per_address
        ),
    )


def login_delays(loaded: Loaded) -> LoginDelays:
    """Time that answers to logins wait."""
    keys = loaded.settings.common.defender.login_delay
    return LoginDelays(keys.success / 1000, keys.password_failed / 1000)


def authenticator_uses(loaded: Loaded) -> list[tuple[str, dict[str, Any]]]:
    """Names and options of the configured authenticators, in order."""
    return [(one.use, one.options) for one in loaded.settings.identity.authenticators]


def homes(loaded: Loaded) -> Homes | None:
    """The storage of homes of new accounts; None leaves them on disk."""
    keys = loaded.settings.storage.homes
    if not keys.bucket:
        return None
    options = {name: value for name, value in keys.model_dump().items() if value}
    return Homes(StorageConfig("s3", {"s3config": options}), "s3config")


def storage_kinds(loaded: Loaded) -> StorageKinds:
    """The registry of storage: one for equal configurations, as what was imported stays."""
    return _storage_kinds(tuple(loaded.settings.storage.kinds.items()), sealing(loaded))


@lru_cache(maxsize=8)
def _storage_kinds(named: tuple[tuple[str, str], ...], seals: SealsSecrets) -> StorageKinds:
    return StorageKinds(dict(named), seals)


def live_state(loaded: Loaded) -> Live:
    """The driver of what several servers share, not open yet.

    Raises:
        ConfigError: there is none of that name, or it cannot be made.
    """
    cluster = loaded.settings.cluster
    return create_live(cluster.driver, cluster.options, node=server_name(str(loaded.config_dir)))


def sink_uses(loaded: Loaded) -> list[SinkUse]:
    """The configured sinks."""
    uses: list[SinkUse] = []
    for one in loaded.settings.events.sinks:
        options = dict(one.options)
        for key in ("path", "certificate_file") if one.use in BUILT_IN else ():
            if isinstance(path := options.get(key), str) and path:
                options[key] = str(loaded.resolve(path))
        uses.append(SinkUse(one.use, one.name, tuple(one.events), options))
    return uses


def password_hasher(loaded: Loaded) -> Callable[[str], str]:
    """Hashes new passwords as the configuration says; costs what it says, so call it off the loop."""
    return partial(hash_password, options=hash_options(loaded))


def provider_options(loaded: Loaded) -> ProviderOptions:
    """Options of the data provider.

    Raises:
        ConfigError: `password_file` cannot be used.
    """
    section = loaded.settings.data_provider
    password = section.password
    if not password and section.password_file:
        password = read_secret(loaded.resolve(section.password_file), "data_provider.password_file")

    def file(name: str) -> str:
        return str(loaded.resolve(name)) if name else ""

    return ProviderOptions(
        driver=section.driver,
        name=section.name,
        base_dir=Path(loaded.config_dir),
        host=section.host,
        port=section.port,
        username=section.username,
        password=password,
        sslmode=section.sslmode,
        root_cert=section.root_cert if section.root_cert == SYSTEM_AUTHORITIES else file(section.root_cert),
        client_cert=file(section.client_cert),
        client_key=file(section.client_key),
        connection_string=section.connection_string,
        sql_tables_prefix=section.sql_tables_prefix,
        users_table=section.users_table,
        manage_users=bool(section.manage_users),
        track_quota=section.track_quota,
        pool_size=section.pool_size,
        read_host=section.read_host,
        prepared_statements=section.prepared_statements,
        rules=record_rules(loaded),
        hash_password=password_hasher(loaded),
        seals=sealing(loaded),
    )
