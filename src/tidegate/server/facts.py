# SPDX-License-Identifier: Apache-2.0
"""Facts about this process and the files that it uses, for the pages of administrators."""

from __future__ import annotations

import asyncio

from tidegate.config.load import Loaded
from tidegate.health.certificates import Dated, read_all
from tidegate.model.sealing import NO_SEALING
from tidegate.sealing.sealer import Sealer
from tidegate.server.certificate_files import certificate_files
from tidegate.server.sandbox import entered
from tidegate.server.secrets import NO_KEY, read_keys, sealing


class Facts:
    """See `tidegate.web.api.services.TellsFacts`."""

    async def certificates(self, loaded: Loaded) -> list[Dated]:
        """Certificates, authorities and revocation lists that a configuration uses."""
        return await asyncio.to_thread(read_all, list(certificate_files(loaded)))

    async def sealing(self, loaded: Loaded) -> tuple[str, str]:
        """The id of the master key, empty without one, and a sentence about it.

        Raises:
            ConfigError: it cannot be read.
        """
        seals = sealing(loaded)
        if seals is NO_SEALING:
            return "", NO_KEY
        text = await asyncio.to_thread(read_keys, loaded)
        return (seals.keys.current.id if isinstance(seals, Sealer) else ""), text

    def sandbox(self) -> tuple[bool, str]:
        """True if the sandbox that was to be is not there, and a sentence about it."""
        return entered()
