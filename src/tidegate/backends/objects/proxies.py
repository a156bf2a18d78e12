# SPDX-License-Identifier: Apache-2.0
"""The proxy of the environment for one endpoint.

aiohttp's own ``trust_env`` reads ``~/.netrc`` for each request besides, and sends what stands there.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_for(base: str) -> str | None:
    """The proxy that the environment names for a URL (``https_proxy``, ``no_proxy``...); None for none."""
    parts = urlsplit(base)
    if proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)
