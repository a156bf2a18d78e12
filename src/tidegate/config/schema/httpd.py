# SPDX-License-Identifier: Apache-2.0
"""Section ``httpd``: the REST API and the pages."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator, model_validator

from tidegate.config.schema.base import Section, key
from tidegate.config.schema.defence import networks
from tidegate.config.schema.tls import CipherSuites, cipher_suites


class HttpBinding(Section):
    """One address that the HTTP server listens on."""

    port: int = key(8080, "TCP port; 0 switches the binding off.", ge=0, le=65_535)
    address: str = key("127.0.0.1", "Address to listen on; empty listens on every address.")
    enable_rest_api: bool = key(True, "Serve the REST API here.")
    enable_rest_api_v1: bool = key(
        False,
        "Serve the API of SFTPGo 0.9 here too, at /api/v1, for scripts that were written for it; needs "
        "`enable_rest_api`.",
    )
    render_openapi: bool = key(True, "Serve the API's description and its page here.")
    enable_web_admin: bool = key(True, "Serve the pages for administrators here, at /web/admin.")
    enable_metrics: bool = key(
        False,
        "Serve `/metrics` here too, to administrators with `view_status` (token or API key) and users of "
        "`auth_user_file`; `telemetry` is the listener for that.",
    )
    enable_https: bool = key(False, "Serve HTTPS; needs a certificate and its key.")
    certificate_file: str = key(
        "", "Certificate, relative to the configuration directory; read again on SIGHUP."
    )
    certificate_key_file: str = key("", "Key of the certificate.")
    min_tls_version: int = key(12, "Least TLS version: 12 or 13.", ge=12, le=13)
    tls_cipher_suites: CipherSuites = cipher_suites()
    proxy_allowed: list[str] = key([], "Networks of proxies whose client address header is believed.")
    client_ip_proxy_header: str = key(
        "", "Header with the client's address, believed from `proxy_allowed` only; empty uses none."
    )
    client_ip_header_depth: int = key(0, "Which address of that header counts, from the right.", ge=0, le=100)

    proxy_mode: int = key(
        0,
        "1 takes the PROXY header as `common.proxy_protocol` says; 0 reads none. `proxy_allowed` is about "
        "the header of HTTP.",
        ge=0,
        le=1,
    )

    @field_validator("proxy_allowed")
    @classmethod
    def _networks(cls, texts: list[str]) -> list[str]:
        return networks(texts)

    @model_validator(mode="after")
    def _https_has_certificate(self) -> HttpBinding:
        if self.enable_https and not (self.certificate_file and self.certificate_key_file):
            raise ValueError("enable_https needs certificate_file and certificate_key_file")
        return self

    # -- accepted, not acted on ----------------------------------------------------------------------------
    enable_web_client: bool = key(False, "Web pages for users.", available=False)
    enabled_login_methods: int = key(0, "Login methods of the pages.", available=False)
    disabled_login_methods: int = key(0, "Login methods the pages refuse.", available=False)
    client_auth_type: int = key(0, "Client certificates.", available=False)
    tls_protocols: list[str] = key([], "HTTP versions.", available=False)
    hide_login_url: int = key(0, "Hides links of the pages.", available=False)
    login_page_redirect: bool = key(False, "Redirects to the login page.", available=False)
    base_url: str = key("", "Address used in links.", available=False)
    languages: list[str] = key([], "Languages of the pages.", available=False)
    share_expiration_days: int = key(
        0, "Time after which new shares end, unless the user says otherwise.", unit="days", available=False
    )
    web_client_integrations: list[Any] = key([], "External viewers.", available=False)
    oidc: dict[str, Any] = key({}, "OpenID Connect.", available=False, switch="config_url")
    security: dict[str, Any] = key({}, "Security headers.", available=False, switch="enabled")
    branding: dict[str, Any] = key({}, "Names and logos of the pages.", available=False)
    extra_css: list[Any] = key([], "Style sheets of the pages.", available=False)


class Httpd(Section):
    """The HTTP server: REST API, pages, health."""

    bindings: list[HttpBinding] = key([HttpBinding()], "Addresses to listen on.")
    auth_user_file: str = key(
        "",
        "File in htpasswd form (bcrypt, apr1, SHA-crypt, argon2id) for basic authentication of the REST API "
        "and for signing in on the pages, besides administrators of the data provider; relative to the "
        "configuration directory.",
    )
    signing_passphrase: str = key(
        "", "Secret that signs tokens; empty makes a new one at each start.", secret=True
    )
    signing_passphrase_file: str = key(
        "", "File that holds that secret; used if `signing_passphrase` is empty."
    )
    token_validation: int = key(0, "0 binds a token to the address it was given to, 1 does not.", ge=0, le=1)
    jwt_lifetime: int = key(20, "Life of a token.", unit="minutes", ge=1, le=720)
    cookie_lifetime: int = key(
        20, "A session of the pages ends when it was not used for so long.", unit="minutes", ge=1, le=1440
    )
    cookie_max_lifetime: int = key(
        720, "A session of the pages ends so long after signing in.", unit="minutes", ge=1, le=44_640
    )
    max_connections: int = key(
        500,
        "Connections of one binding; the one that has waited longest for a request makes room for another; "
        "0 no limit.",
        ge=0,
        le=100_000,
    )
    max_connections_per_source: int = key(
        100,
        "Connections of one client address to one binding, but for those in `proxy_allowed`; "
        "the one of it that has waited longest makes room; 0 no limit.",
        ge=0,
        le=100_000,
    )
    head_timeout: int = key(
        10,
        "Time for the head of a request to arrive, and for a TLS handshake.",
        unit="seconds",
        ge=1,
        le=300,
    )
    templates_path: str = key(
        "",
        "Directory with templates of your own for the web admin, relative to the configuration directory; "
        "read at start and on SIGHUP.",
    )
    static_files_path: str = key(
        "", "Directory with style sheets, images and fonts of your own for the web admin; likewise."
    )
    max_request_size: int = key(
        20 * 1024 * 1024, "Largest body of a request.", unit="bytes", ge=1024, le=1 << 31
    )

    # -- accepted, not acted on ----------------------------------------------------------------------------
    openapi_path: str = key("openapi", "Files of the API description.", available=False)
    web_root: str = key("", "Path prefix of the pages.", available=False)
    certificates: list[Any] = key([], "Further certificates.", available=False)
    ca_certificates: list[str] = key([], "Authorities of client certificates.", available=False)
    ca_revocation_lists: list[str] = key([], "Revoked client certificates.", available=False)
    share_cookie_lifetime: int = key(120, "Life of cookies of shares.", unit="minutes", available=False)
    max_upload_file_size: int = key(0, "Largest upload over HTTP.", unit="bytes", available=False)
    cors: dict[str, Any] = key({}, "Cross-origin requests.", available=False, switch="enabled")
    setup: dict[str, Any] = key({}, "First-start page.", available=False)
    hide_support_link: bool = key(False, "A link of the pages.", available=False)
    acme: dict[str, Any] = key({}, "Automatic certificates.", available=False)
