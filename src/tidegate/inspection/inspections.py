# SPDX-License-Identifier: Apache-2.0
"""The inspectors of one server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tidegate.contracts.inspection import ALLOWED, Inspected, InspectedAct, Inspector, Verdict
from tidegate.errors import Denied

MAX_TEXT: Final = 256
"""Characters of an inspector's text that a client is told."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InspectorUse:
    """An inspector in use.

    Attributes:
        name: what rules and the log call it.
        inspector: see `tidegate.contracts.inspection.Inspector`.
        acts: what it is asked about.
        seconds: most that it may take.
        allow_on_error: an act counts if it fails or takes longer.
        keeps_old: where it is asked about uploads, a file that is replaced as a whole stays as it was
            until it has answered, even if uploads are written in place.
    """

    name: str
    inspector: Inspector
    acts: frozenset[Inspected]
    seconds: float
    allow_on_error: bool = False
    keeps_old: bool = False

    @property
    def rule(self) -> str:
        """The rule that its refusals are recorded under."""
        return rule_of(self.name)


def rule_of(name: str) -> str:
    """The rule of an inspector's refusals."""
    return f"inspector[{name}]"


class Inspections:
    """Asks them. Life: constructed, `open`, `require`..., `close` (legal after a failed open).

    Attributes:
        login, open_upload, upload, download, delete: True if some inspector is asked about such acts.
        keeps_old: see `InspectorUse`.
    """

    def __init__(self, uses: Sequence[InspectorUse]) -> None:
        self._uses = tuple(uses)
        self._opened: list[InspectorUse] = []
        self.login = self.open_upload = self.upload = self.download = self.delete = False
        self.keeps_old = False
        self._look()

    def _look(self) -> None:
        asked = {kind: any(kind in use.acts for use in self._uses) for kind in Inspected}
        self.login = asked[Inspected.LOGIN]
        self.open_upload = asked[Inspected.OPEN_UPLOAD]
        self.upload = asked[Inspected.UPLOAD]
        self.download = asked[Inspected.DOWNLOAD]
        self.delete = asked[Inspected.DELETE]
        self.keeps_old = any(use.keeps_old and Inspected.UPLOAD in use.acts for use in self._uses)

    def replace(self, use: InspectorUse) -> None:
        """Ask an inspector from now on, last; one of its name is not asked any more. It is open already."""
        others = tuple(one for one in self._uses if one.name != use.name)
        self._uses = (*others, use)
        self._look()

    async def open(self) -> None:
        """Open the inspectors."""
        for use in self._uses:
            self._opened.append(use)
            await use.inspector.open()

    async def close(self) -> None:
        """Close them."""
        while self._opened:
            use = self._opened.pop()
            try:
                await use.inspector.close()
            except Exception:
                log.exception("inspector %s could not be closed", use.name)

    async def require(self, act: InspectedAct) -> None:
        """Return if every inspector that is asked about such acts allows this one.

        Raises:
            Denied: the first that does not; `rule` names it.
        """
        for use in self._uses:
            if act.kind not in use.acts:
                continue
            verdict = await _ask(use, act)
            if not verdict.allowed:
                reason = _shown(verdict.reason or verdict.text)
                log.info(
                    "%s: %s refuses %s of %r: %s",
                    act.origin.connection_id,
                    use.rule,
                    act.kind,
                    act.path,
                    reason,
                )
                raise Denied(_shown(verdict.text) or Denied.default_text, rule=use.rule)


async def _ask(use: InspectorUse, act: InspectedAct) -> Verdict:
    try:
        async with asyncio.timeout(use.seconds):
            return await use.inspector.inspect(act)
    except Exception as error:
        what = f"no answer in {use.seconds:g} s" if isinstance(error, TimeoutError) else _shown(repr(error))
        log.warning(
            "inspector %s: %s of %r: %s: %s",
            use.name,
            act.kind,
            act.path,
            what,
            "allowed" if use.allow_on_error else "refused",
        )
        return ALLOWED if use.allow_on_error else Verdict(allowed=False, reason=what)


def _shown(text: str) -> str:
    return "".join(char for char in text[:MAX_TEXT] if char.isprintable())
