# SPDX-License-Identifier: Apache-2.0
"""URLs of databases, before a library takes them apart."""

from __future__ import annotations

from tidegate.errors import ProviderError


def check_url(text: str) -> None:
    """Refuse a URL whose password is taken for a host in part, which every text would then show.

    Libpq ends the user at the first ``@``; for MySQL it is the last one.

    Raises:
        ProviderError: ``@`` or ``/`` of the user or password is not percent-encoded (RFC 3986 section 3.2.1).
    """
    scheme, separator, rest = text.partition("://")
    if not separator or not scheme.replace("+", "").isalnum():
        return
    place = rest.partition("?")[0]
    authority, _, path = place.partition("/")
    if "@" in path or (scheme.startswith("postgres") and "@" in authority.partition("@")[2]):
        raise ProviderError(
            "data_provider.connection_string: holds @ or / in its user or password: write them as %40 and %2F"
        )
