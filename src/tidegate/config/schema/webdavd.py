# SPDX-License-Identifier: Apache-2.0
"""Section ``webdavd``: the WebDAV server."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import field_validator, model_validator

from tidegate.config.schema.base import Section, key
from tidegate.config.schema.cors import Cors
from tidegate.config.schema.defence import networks
from tidegate.config.schema.tls import CipherSuites, TlsSection, cipher_suites

_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*", re.ASCII)


class DavBinding(Section):
    """One address that the WebDAV server listens on."""

    port: int = key(0, "TCP port; 0 switches the binding off.", ge=0, le=65_535)
    address: str = key("", "Address or host name to listen on; empty listens on every address.")
    enable_https: bool = key(False, "Serve HTTPS; needs a certificate and its key.")
    certificate_file: str = key(
        "", "Certificate, relative to the configuration directory; read again on SIGHUP."
    )
    certificate_key_file: str = key("", "Key of the certificate.")
    min_tls_version: int = key(12, "Least TLS version: 12 or 13.", ge=12, le=13)
    tls_cipher_suites: CipherSuites = cipher_suites()
    client_auth_type: int = key(
        0,
        "Certificates of clients: 0 asks for none, 1 refuses connections without one, 2 takes those that are "
        "offered. 1 and 2 need `webdavd.ca_certificates`. Accounts with `filters.tls_username` log in by "
        "them.",
        ge=0,
        le=2,
    )
    plain_login: bool = key(
        False,
        "Take logins in the clear, which anybody on the way can read. Behind a proxy of `proxy_allowed` that "
        "says `X-Forwarded-Proto: https` they are not in the clear.",
    )
    prefix: str = key("", "Prefix of all paths, such as `/dav`; empty for none.")
    proxy_allowed: list[str] = key([], "Networks of proxies whose headers are believed.")
    client_ip_proxy_header: str = key(
        "", "Header with the client's address, believed from `proxy_allowed` only; empty uses none."
    )
    client_ip_header_depth: int = key(0, "Which address of that header counts, from the right.", ge=0, le=100)
    disable_www_auth_header: bool = key(
        False, "Answer 401 without the header that has clients ask for a password."
    )
    apple_files: Literal["store", "hide", "refuse"] = key(
        "store",
        "What becomes of the files that macOS writes beside others (`.DS_Store`, `._*` and the like): kept, "
        "kept and left out of listings, or refused.",
    )
    infinite_depth: bool = key(
        False, "Answer PROPFIND of whole trees, which costs as much as they are large."
    )
    nextcloud: bool = key(
        False,
        "Serve the addresses of Nextcloud and ownCloud too: `/remote.php/dav/files/NAME/` is the tree of an "
        "account, and `/remote.php/dav/uploads/NAME/` takes large files in parts. They hide a directory "
        "`remote.php`.",
    )
    pages: bool = key(True, "Show a page to people who open the address of a directory.")

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, text: str) -> str:
        if not _PREFIX.fullmatch(text.rstrip("/")):
            raise ValueError(f"expected a path such as /dav, got {text!r}")
        return text.rstrip("/")

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
    def _can_be_used(self) -> DavBinding:
        if not self.port:
            return self
        if self.enable_https and not (self.certificate_file and self.certificate_key_file):
            raise ValueError("enable_https needs certificate_file and certificate_key_file")
        if self.client_auth_type and not self.enable_https:
            raise ValueError(f"client_auth_type {self.client_auth_type} needs enable_https")
        if not self.enable_https and not self.plain_login and not self.proxy_allowed:
            raise ValueError(
                "nobody could log in: set enable_https with a certificate, proxy_allowed for a proxy that "
                "speaks HTTPS, or plain_login, which takes passwords that anybody on the way can read"
            )
        return self

    # -- accepted, not acted on ----------------------------------------------------------------------------
    tls_protocols: list[str] = key([], "HTTP versions.", available=False)


class MimeType(Section):
    """The content type of names with one extension."""

    ext: str = key(
        "", "Extension with its dot.", pattern=r"^\.[^/\s]{1,32}$", like="an extension such as .txt"
    )
    mime: str = key(
        "", "Content type.", pattern=r"^[!-~]+/[!-~]+(;[ -~]*)?$", like="a content type such as text/plain"
    )


class MimeTypes(Section):
    """Content types."""

    enabled: bool = key(True, "Use `custom_mappings`.")
    custom_mappings: list[MimeType] = key([], "Content types by extension, before those that are known.")

    # -- accepted, not acted on ----------------------------------------------------------------------------
    max_size: int = key(1000, "Types that are remembered; nothing is looked up here.", available=False)


class CachedUsers(Section):
    """Clients that stay logged in between requests."""

    expiration_time: int = key(
        0,
        "Time after which credentials are judged anew; 0 as long as the account does not change.",
        unit="minutes",
        ge=0,
        le=525_600,
    )
    max_size: int = key(
        1000,
        "Clients that stay logged in; the longest idle one makes room for another; 0 is 10000.",
        ge=0,
        le=10_000,
    )


class DavCache(Section):
    """Memory between requests."""

    users: CachedUsers = key(CachedUsers(), "Clients that stay logged in between requests.")
    mime_types: MimeTypes = key(MimeTypes(), "Content types.")


class Webdavd(TlsSection):
    """The WebDAV server."""

    bindings: list[DavBinding] = key([DavBinding()], "Addresses to listen on.")
    cache: DavCache = key(DavCache(), "What is remembered between requests.")
    cors: Cors = key(Cors(), "Requests that pages of other sites send by a browser.")
