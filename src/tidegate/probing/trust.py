# SPDX-License-Identifier: Apache-2.0
"""TLS settings of a probe."""

from __future__ import annotations

import ssl

from tidegate.probing.target import Target


def tls_context(target: Target) -> ssl.SSLContext:
    """The settings: the system's authorities, or those of a file."""
    context = ssl.create_default_context(cafile=target.authority)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file may hold the certificate alone
    if not target.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
