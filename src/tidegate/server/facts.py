# SPDX-License-Identifier: Apache-2.0
"""Facts about this process and the files that it uses, for the pages of administrators."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from tidegate.config.load import Loaded
from tidegate.health.certificates import Dated, read_all
from tidegate.model.sealing import NO_SEALING
from tidegate.sealing.sealer import Sealer
from tidegate.server.certificate_files import certificate_files
from tidegate.server.limit_table import limit_rows
from tidegate.server.sandbox import entered
from tidegate.server.secrets import NO_KEY, read_keys, sealing
from tidegate.web.api.services import ShownLimit

if TYPE_CHECKING:
    from tidegate.server.doors import Composition


class Facts:
    """See `tidegate.web.api.services.TellsFacts`."""

    def __init__(self, root: Composition) -> None:
        self._root = root

    def limits(self, loaded: Loaded) -> list[ShownLimit]:
        """See `TellsFacts.limits`."""
        ledger = self._root.ledger
        used = {
            "common.max_total_connections": ledger.connections.used,
            "sftpd.max_startups": len(ledger.arrivals),
            "limits.channels": ledger.channels.used,
            "limits.handles": ledger.handles.used,
            "limits.programs": ledger.programs.used,
            "limits.upload_parts": ledger.upload_parts.used,
        }
        found = [
            ShownLimit(
                row.resource,
                tuple(
                    (scope, text.replace("`", ""))
                    for scope, text in (
                        ("a connection", row.connection),
                        ("a source", row.source),
                        ("an account", row.account),
                        ("all", row.process),
                    )
                    if text
                ),
                next((str(used[key]) for key in row.keys if key in used), ""),
                row.keys,
                row.consequence,
            )
            for row in limit_rows(loaded.settings, ledger.limits)
        ]
        defence = self._root.defence
        for one in [] if defence is None else defence.defence.limiters:
            limits = one.limits
            rate = f"{limits.average} in {limits.period_seconds:g} s, {limits.burst} at once"
            found.append(
                ShownLimit(
                    f"connections and requests ({', '.join(sorted(limits.protocols))})",
                    (("a source" if limits.per_source else "all", rate),),
                    f"{len(one)} counted" if limits.per_source else "",
                    (limits.rule,),
                    f"waits for {limits.allowed_wait:g} s at most, then refused",
                )
            )
        return found

    def refusals(self) -> dict[str, int]:
        """See `TellsFacts.refusals`."""
        events, defence = self._root.measures().events, self._root.defence
        found: Counter[str] = Counter()
        for (step, rule), one in events.refused.items():
            if step == "connection":
                found[rule] += one.number
        untold = self._root.ledger.untold + Counter(defence.defence.untold if defence else {})
        for rule, number in untold.items():
            found[events.rule_of(rule)] += number
        return dict(found.most_common())

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
