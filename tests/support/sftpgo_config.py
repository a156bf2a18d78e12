# SPDX-License-Identifier: Apache-2.0
"""Configurations with the keys and default values of SFTPGo's releases, made from a table of facts.

One line a key: path, default, first and last release that has it. A release is meant by its minor version;
where a key came or went within one, the line says the wider range.
"""

from __future__ import annotations

from typing import Any, Final

RELEASES: Final = (
    "0.9.4", "0.9.5", "0.9.6", "1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7",
)  # fmt: skip
FIRST, LAST = RELEASES[0], RELEASES[-1]

_ACTIONS_OLD: Final = {"execute_on": [], "command": "", "http_notification_url": ""}
_CORS: Final = {
    "enabled": False, "allowed_origins": [], "allowed_methods": [], "allowed_headers": [], "exposed_headers": [],
    "allow_credentials": False, "max_age": 0,
}  # fmt: skip
_HASHING: Final = {"argon2_options": {"memory": 65536, "iterations": 1, "parallelism": 2}}
_LIMITER: Final = {
    "average": 0, "period": 1000, "burst": 1, "type": 2, "protocols": ["SSH", "FTP", "DAV", "HTTP"],
    "generate_defender_events": False, "entries_soft_limit": 100, "entries_hard_limit": 150,
}  # fmt: skip
_DEFENDER: Final = {
    "enabled": False, "ban_time": 30, "ban_time_increment": 50, "threshold": 15, "score_invalid": 2,
    "score_valid": 1, "observation_time": 30, "entries_soft_limit": 100, "entries_hard_limit": 150,
}  # fmt: skip
_OIDC: Final = {
    "client_id": "", "client_secret": "", "config_url": "", "redirect_base_url": "", "username_field": "",
    "role_field": "", "scopes": ["openid", "profile", "email"],
}  # fmt: skip
_SECURITY: Final = {"enabled": False, "allowed_hosts": [], "sts_seconds": 0, "content_security_policy": ""}
_BRAND: Final = {"name": "", "short_name": "", "favicon_path": "", "logo_path": "", "extra_css": []}

KEYS: Final[tuple[tuple[str, Any, str, str], ...]] = (
    # --- sftpd ---------------------------------------------------------------------------------------------
    ("sftpd.bind_port", 2022, FIRST, "1.2"),
    ("sftpd.bind_address", "", FIRST, "1.2"),
    ("sftpd.idle_timeout", 15, FIRST, "1.0"),
    ("sftpd.umask", "0022", FIRST, "1.0"),
    ("sftpd.upload_mode", 0, FIRST, "1.0"),
    ("sftpd.actions", _ACTIONS_OLD, FIRST, "1.0"),
    ("sftpd.keys", [], FIRST, "1.1"),
    ("sftpd.enable_scp", False, FIRST, "1.0"),
    ("sftpd.setstat_mode", 0, "0.9.5", "1.0"),
    ("sftpd.proxy_protocol", 0, "0.9.6", "1.0"),
    ("sftpd.proxy_allowed", [], "0.9.6", "1.0"),
    ("sftpd.keyboard_interactive_auth_program", "", "0.9.6", "0.9.6"),
    ("sftpd.banner", "", FIRST, "2.5"),
    ("sftpd.max_auth_tries", 0, FIRST, LAST),
    ("sftpd.kex_algorithms", [], FIRST, LAST),
    ("sftpd.ciphers", [], FIRST, LAST),
    ("sftpd.macs", [], FIRST, LAST),
    ("sftpd.login_banner_file", "", FIRST, LAST),
    ("sftpd.enabled_ssh_commands", ["md5sum", "sha1sum", "cd", "pwd"], "0.9.5", "1.0"),
    ("sftpd.enabled_ssh_commands", ["md5sum", "sha1sum", "cd", "pwd", "scp"], "1.1", "2.2"),
    ("sftpd.enabled_ssh_commands", ["md5sum", "sha1sum", "sha256sum", "cd", "pwd", "scp"], "2.3", LAST),
    ("sftpd.keyboard_interactive_auth_hook", "", "1.0", LAST),
    ("sftpd.host_keys", [], "1.2", LAST),
    ("sftpd.trusted_user_ca_keys", [], "1.1", LAST),
    ("sftpd.password_authentication", True, "1.2", LAST),
    ("sftpd.bindings", [{"port": 2022, "address": "", "apply_proxy_config": True}], "2.0", LAST),
    ("sftpd.folder_prefix", "", "2.0", "2.6"),
    ("sftpd.keyboard_interactive_authentication", False, "2.2", "2.4"),
    ("sftpd.keyboard_interactive_authentication", True, "2.5", LAST),
    ("sftpd.host_certificates", [], "2.3", LAST),
    ("sftpd.host_key_algorithms", [], "2.3", LAST),
    ("sftpd.revoked_user_certs_file", "", "2.3", LAST),
    ("sftpd.moduli", [], "2.4", "2.5"),
    ("sftpd.public_key_algorithms", [], "2.6", LAST),
    ("sftpd.min_dh_group_exchange_key_size", 2048, "2.6", "2.6"),
    ("sftpd.opkssh_path", "", "2.7", LAST),
    ("sftpd.opkssh_checksum", "", "2.7", LAST),
    # --- common --------------------------------------------------------------------------------------------
    ("common.idle_timeout", 15, "1.1", LAST),
    ("common.upload_mode", 0, "1.1", LAST),
    ("common.actions", {"execute_on": [], "hook": ""}, "1.1", "2.0"),
    ("common.actions", {"execute_on": [], "execute_sync": [], "hook": ""}, "2.1", LAST),
    ("common.setstat_mode", 0, "1.1", LAST),
    ("common.proxy_protocol", 0, "1.1", LAST),
    ("common.proxy_allowed", [], "1.1", LAST),
    ("common.post_connect_hook", "", "1.1", LAST),
    ("common.max_total_connections", 0, "2.0", LAST),
    ("common.defender", _DEFENDER, "2.0", LAST),
    ("common.defender.safelist_file", "", "2.0", "2.4"),
    ("common.defender.login_delay", {"success": 0, "password_failed": 1000}, "2.6", LAST),
    ("common.temp_path", "", "2.1", LAST),
    ("common.startup_hook", "", "2.1", LAST),
    ("common.max_per_host_connections", 20, "2.1", LAST),
    ("common.rate_limiters", [_LIMITER], "2.1", LAST),
    ("common.post_disconnect_hook", "", "2.2", LAST),
    ("common.data_retention_hook", "", "2.2", "2.6"),
    ("common.whitelist_file", "", "2.3", "2.4"),
    ("common.allow_self_connections", 0, "2.4", LAST),
    ("common.rename_mode", 0, "2.5", LAST),
    ("common.proxy_skipped", [], "2.5", LAST),
    ("common.allowlist_status", 0, "2.5", LAST),
    ("common.umask", "", "2.5", LAST),
    ("common.server_version", "", "2.6", LAST),
    ("common.resume_max_size", 0, "2.6", LAST),
    ("common.metadata", {"read": 0}, "2.6", LAST),
    ("common.tz", "", "2.6", LAST),
    ("common.event_manager", {"enabled_commands": []}, "2.6", LAST),
    ("common.secret_min_entropy", 80, "2.7", LAST),
    ("common.symlink_mode", 0, "2.7", LAST),
    # --- data_provider -------------------------------------------------------------------------------------
    ("data_provider.driver", "sqlite", FIRST, LAST),
    ("data_provider.name", "sftpgo.db", FIRST, LAST),
    ("data_provider.host", "", FIRST, LAST),
    ("data_provider.port", 5432, FIRST, "2.0"),
    ("data_provider.port", 0, "2.1", LAST),
    ("data_provider.username", "", FIRST, LAST),
    ("data_provider.password", "", FIRST, LAST),
    ("data_provider.sslmode", 0, FIRST, LAST),
    ("data_provider.connection_string", "", FIRST, LAST),
    ("data_provider.users_table", "users", FIRST, "1.0"),
    ("data_provider.manage_users", 1, FIRST, "1.2"),
    ("data_provider.track_quota", 2, FIRST, LAST),
    ("data_provider.pool_size", 0, FIRST, LAST),
    ("data_provider.users_base_dir", "", FIRST, LAST),
    ("data_provider.actions", _ACTIONS_OLD, FIRST, "1.0"),
    ("data_provider.actions", {"execute_on": [], "hook": ""}, "1.1", "2.1"),
    ("data_provider.actions", {"execute_on": [], "execute_for": [], "hook": ""}, "2.2", LAST),
    ("data_provider.external_auth_program", "", "0.9.5", "0.9.6"),
    ("data_provider.external_auth_scope", 0, "0.9.5", LAST),
    ("data_provider.external_auth_hook", "", "1.0", LAST),
    ("data_provider.credentials_path", "credentials", "0.9.6", "2.3"),
    ("data_provider.pre_login_program", "", "0.9.6", "0.9.6"),
    ("data_provider.pre_login_hook", "", "1.0", LAST),
    ("data_provider.sql_tables_prefix", "", "1.1", LAST),
    ("data_provider.prefer_database_credentials", False, "1.2", "2.3"),
    ("data_provider.post_login_hook", "", "1.2", LAST),
    ("data_provider.post_login_scope", 0, "1.2", LAST),
    ("data_provider.check_password_hook", "", "1.2", LAST),
    ("data_provider.check_password_scope", 0, "1.2", LAST),
    ("data_provider.password_hashing", _HASHING, "1.2", "2.0"),
    ("data_provider.password_hashing", {**_HASHING, "bcrypt_options": {"cost": 10}, "algo": "bcrypt"}, "2.1", LAST),
    ("data_provider.update_mode", 0, "2.0", LAST),
    ("data_provider.skip_natural_keys_validation", False, "2.0", "2.2"),
    ("data_provider.delayed_quota_update", 0, "2.1", LAST),
    ("data_provider.create_default_admin", False, "2.1", LAST),
    ("data_provider.password_caching", True, "2.1", LAST),
    ("data_provider.password_validation", {"admins": {"min_entropy": 0}, "users": {"min_entropy": 0}}, "2.1", LAST),
    ("data_provider.is_shared", 0, "2.2", LAST),
    ("data_provider.naming_rules", 0, "2.3", "2.3"),
    ("data_provider.naming_rules", 1, "2.4", "2.4"),
    ("data_provider.naming_rules", 5, "2.5", LAST),
    ("data_provider.auto_backup", {"enabled": True, "hour": "0", "day_of_week": "*"}, "2.3", "2.3"),
    ("data_provider.root_cert", "", "2.3", LAST),
    ("data_provider.client_cert", "", "2.3", LAST),
    ("data_provider.client_key", "", "2.3", LAST),
    ("data_provider.backups_path", "backups", "2.3", LAST),
    ("data_provider.disable_sni", False, "2.4", LAST),
    ("data_provider.target_session_attrs", "", "2.4", LAST),
    ("data_provider.node", {"host": "", "port": 0, "proto": "http"}, "2.4", LAST),
    # --- httpd ---------------------------------------------------------------------------------------------
    ("httpd.bind_port", 8080, FIRST, "1.2"),
    ("httpd.bind_address", "127.0.0.1", FIRST, "1.2"),
    ("httpd.templates_path", "templates", FIRST, LAST),
    ("httpd.static_files_path", "static", FIRST, LAST),
    ("httpd.backups_path", "backups", "0.9.5", "2.2"),
    ("httpd.auth_user_file", "", "0.9.6", "1.2"),
    ("httpd.certificate_file", "", "0.9.6", LAST),
    ("httpd.certificate_key_file", "", "0.9.6", LAST),
    ("httpd.ca_certificates", [], "2.0", LAST),
    ("httpd.ca_revocation_lists", [], "2.0", LAST),
    ("httpd.bindings.port", 8080, "2.0", LAST),
    ("httpd.bindings.address", "127.0.0.1", "2.0", "2.0"),
    ("httpd.bindings.address", "", "2.1", LAST),
    ("httpd.bindings.enable_web_admin", True, "2.0", LAST),
    ("httpd.bindings.enable_https", False, "2.0", LAST),
    ("httpd.bindings.client_auth_type", 0, "2.0", LAST),
    ("httpd.bindings.enable_web_client", True, "2.1", LAST),
    ("httpd.bindings.tls_cipher_suites", [], "2.1", LAST),
    ("httpd.bindings.proxy_allowed", [], "2.1", LAST),
    ("httpd.bindings.hide_login_url", 0, "2.2", LAST),
    ("httpd.bindings.render_openapi", True, "2.2", LAST),
    ("httpd.bindings.web_client_integrations", [], "2.2", "2.5"),
    ("httpd.bindings.min_tls_version", 12, "2.3", LAST),
    ("httpd.bindings.oidc", _OIDC, "2.3", LAST),
    ("httpd.bindings.security", _SECURITY, "2.3", LAST),
    ("httpd.bindings.branding", {"web_admin": _BRAND, "web_client": _BRAND}, "2.3", LAST),
    ("httpd.bindings.client_ip_proxy_header", "", "2.3", LAST),
    ("httpd.bindings.client_ip_header_depth", 0, "2.3", LAST),
    ("httpd.bindings.enable_rest_api", True, "2.4", LAST),
    ("httpd.bindings.enabled_login_methods", 0, "2.4", LAST),
    ("httpd.bindings.certificate_file", "", "2.4", LAST),
    ("httpd.bindings.certificate_key_file", "", "2.4", LAST),
    ("httpd.bindings.share_expiration_days", 0, "2.4", "2.5"),
    ("httpd.bindings.tls_protocols", [], "2.6", LAST),
    ("httpd.bindings.proxy_mode", 0, "2.6", LAST),
    ("httpd.bindings.languages", ["en"], "2.6", LAST),
    ("httpd.bindings.disabled_login_methods", 0, "2.7", LAST),
    ("httpd.openapi_path", "openapi", "2.2", LAST),
    ("httpd.web_root", "", "2.1", LAST),
    ("httpd.signing_passphrase", "", "2.1", LAST),
    ("httpd.max_upload_file_size", 1_048_576_000, "2.2", "2.4"),
    ("httpd.max_upload_file_size", 0, "2.5", LAST),
    ("httpd.cors", _CORS, "2.2", LAST),
    ("httpd.setup", {"installation_code": "", "installation_code_hint": "Installation code"}, "2.2", LAST),
    ("httpd.token_validation", 0, "2.4", LAST),
    ("httpd.hide_support_link", False, "2.4", LAST),
    ("httpd.signing_passphrase_file", "", "2.6", LAST),
    ("httpd.cookie_lifetime", 20, "2.6", LAST),
    ("httpd.share_cookie_lifetime", 120, "2.6", LAST),
    ("httpd.jwt_lifetime", 20, "2.6", LAST),
    # --- sections that are here as a whole, with what is on by default -------------------------------------
    ("ftpd.bind_port", 0, "1.1", "1.2"),
    ("ftpd.bindings", [{"port": 0, "address": "", "tls_mode": 0}], "2.0", LAST),
    ("ftpd.passive_port_range", {"start": 50000, "end": 50100}, "1.1", LAST),
    ("ftpd.active_transfers_port_non_20", True, "1.1", LAST),
    ("webdavd.bind_port", 0, "1.1", "1.2"),
    ("webdavd.bindings", [{"port": 0, "address": "", "enable_https": False}], "2.0", LAST),
    ("webdavd.cache", {"users": {"expiration_time": 0, "max_size": 50}}, "1.2", LAST),
    ("webdavd.cors", _CORS, "1.1", LAST),
    ("http", {"timeout": 20, "ca_certificates": [], "skip_tls_verify": False}, "1.0", "2.0"),
    (
        "http",
        {
            "timeout": 20, "retry_wait_min": 2, "retry_wait_max": 30, "retry_max": 3, "ca_certificates": [],
            "certificates": [], "skip_tls_verify": False, "headers": [],
        },
        "2.1",
        LAST,
    ),
    ("kms", {"secrets": {"url": "", "master_key_path": ""}}, "1.2", LAST),
    ("telemetry", {"bind_port": 10000, "bind_address": "127.0.0.1", "enable_profiler": False}, "1.2", "2.1"),
    ("telemetry", {"bind_port": 0, "bind_address": "127.0.0.1", "enable_profiler": False}, "2.2", LAST),
    ("mfa", {"totp": [{"name": "Default", "issuer": "SFTPGo", "algo": "sha1"}]}, "2.2", LAST),
    ("smtp", {"host": "", "port": 25, "from": "", "auth_type": 0, "templates_path": "templates"}, "2.1", LAST),
    ("plugins", [], "2.1", LAST),
    ("acme", {"domains": [], "email": "", "key_type": "4096", "http01_challenge": {"port": 80}}, "2.4", LAST),
    ("command", {"timeout": 30, "env": [], "commands": []}, "2.4", LAST),
)  # fmt: skip


def default_config(release: str) -> dict[str, Any]:
    """A configuration with the keys and the default values of a release."""
    at = RELEASES.index(release)
    made: dict[str, Any] = {}
    for path, value, since, until in KEYS:
        if not RELEASES.index(since) <= at <= RELEASES.index(until):
            continue
        *above, name = path.split(".")
        place = made
        for part in above:
            if part == "bindings":
                place = place.setdefault(part, [{}])[0]
            else:
                place = place.setdefault(part, {})
        place[name] = dict(value) if isinstance(value, dict) else value
    return made
