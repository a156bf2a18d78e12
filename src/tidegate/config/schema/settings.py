# SPDX-License-Identifier: Apache-2.0
"""All sections together."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from tidegate.config.schema.base import Section, key
from tidegate.config.schema.cluster import ClusterKeys
from tidegate.config.schema.common import Common
from tidegate.config.schema.data_provider import DataProvider
from tidegate.config.schema.doors import DoorKeys
from tidegate.config.schema.events import EventKeys, SmtpKeys
from tidegate.config.schema.ftpd import Ftpd
from tidegate.config.schema.httpd import Httpd
from tidegate.config.schema.identity import IdentityKeys
from tidegate.config.schema.inspection import InspectionKeys
from tidegate.config.schema.kms import KmsKeys
from tidegate.config.schema.limits import LimitKeys
from tidegate.config.schema.mfa import Mfa
from tidegate.config.schema.outgoing import CommandKeys, HookKeys, HttpKeys
from tidegate.config.schema.sandbox import SandboxKeys
from tidegate.config.schema.sftpd import Sftpd
from tidegate.config.schema.storage import StorageKeys
from tidegate.config.schema.syslog import SyslogKeys
from tidegate.config.schema.telemetry import Telemetry
from tidegate.config.schema.webdavd import Webdavd


class Settings(Section):
    """The whole configuration, every value settled."""

    common: Common = key(Common(), "What holds for every protocol.")
    sftpd: Sftpd = key(Sftpd(), "The SSH server: SFTP, and SSH commands.")
    ftpd: Ftpd = key(Ftpd(), "The FTP and FTPS server.")
    webdavd: Webdavd = key(Webdavd(), "The WebDAV server.")
    data_provider: DataProvider = key(
        DataProvider(), "Where accounts, folders, administrators and counters are kept."
    )
    httpd: Httpd = key(Httpd(), "The HTTP server: REST API, health.")
    doors: DoorKeys = key(DoorKeys(), "Protocols that other packages speak.")
    identity: IdentityKeys = key(IdentityKeys(), "Who says who somebody is, besides the data provider.")
    storage: StorageKeys = key(StorageKeys(), "Kinds of storage besides local disk.")
    events: EventKeys = key(EventKeys(), "Who is told what happens, besides the log.")
    syslog: SyslogKeys = key(SyslogKeys(), "The log for a syslog server, beside the log file.")
    inspection: InspectionKeys = key(InspectionKeys(), "Who is asked before an act counts.")
    cluster: ClusterKeys = key(ClusterKeys(), "What several servers share while they run.")
    kms: KmsKeys = key(KmsKeys(), "Encryption of secrets in records.")
    mfa: Mfa = key(Mfa(), "Second factors.")
    http: HttpKeys = key(HttpKeys(), "Calls to HTTP services of the operator.")
    command: CommandKeys = key(CommandKeys(), "Calls to programs of the operator.")
    hooks: HookKeys = key(HookKeys(), "Hooks of logins and connections.")
    sandbox: SandboxKeys = key(SandboxKeys(), "What the server's own process may reach.")
    limits: LimitKeys = key(LimitKeys(), "What all clients together, one account or one source may use up.")

    @property
    def has_hooks(self) -> bool:
        """True if a hook of logins or connections is named."""
        provider, common, sftpd = self.data_provider, self.common, self.sftpd
        return any(
            (
                provider.external_auth_hook,
                provider.external_auth_program,
                provider.pre_login_hook,
                provider.pre_login_program,
                provider.check_password_hook,
                provider.post_login_hook,
                sftpd.keyboard_interactive_auth_hook,
                sftpd.keyboard_interactive_auth_program,
                common.startup_hook,
                common.post_connect_hook,
                common.post_disconnect_hook,
            )
        )

    @property
    def counts(self) -> bool:
        """True if metrics are exported."""
        return bool(self.telemetry.bind_port) or any(
            one.port and one.enable_metrics for one in self.httpd.bindings
        )

    @model_validator(mode="after")
    def _proxies_are_known(self) -> Settings:
        modes = {f"httpd.bindings[{index}]": one.proxy_mode for index, one in enumerate(self.httpd.bindings)}
        for index, one in enumerate(self.webdavd.bindings):
            modes[f"webdavd.bindings[{index}]"] = one.proxy_mode
        wrong = [name for name, mode in modes.items() if mode and not self.common.proxy_protocol]
        if wrong:
            raise ValueError(f"{wrong[0]}.proxy_mode 1 needs common.proxy_protocol and common.proxy_allowed")
        return self

    @model_validator(mode="after")
    def _confinement_is_possible(self) -> Settings:
        if self.sandbox.mode != "off":
            if not self.sandbox.no_new_privileges:
                raise ValueError("sandbox.mode needs sandbox.no_new_privileges")
            if self.sftpd.programs.confinement == "strict":
                raise ValueError(
                    "sandbox.mode is not possible with sftpd.programs.confinement 'strict': in a sandbox no "
                    "namespace can be made"
                )
        return self

    telemetry: Telemetry = key(Telemetry(), "Metrics and health, for monitoring.")
    smtp: SmtpKeys = key(SmtpKeys(), "The mail server that event rules send by.")

    # -- accepted, not acted on ----------------------------------------------------------------------------
    acme: dict[str, Any] = key({}, "Automatic certificates.", available=False, switch="domains")
    plugins: list[dict[str, Any]] = key([], "Plugin programs.", available=False)
