# SPDX-License-Identifier: Apache-2.0
"""The inspectors of one server."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tidegate.contracts.inspection import ALLOWED, Inspected, InspectedAct, Inspector, NotNow, Read, Verdict
from tidegate.errors import Denied

if TYPE_CHECKING:
    from tidegate.inspection.early import Begun
    from tidegate.inspection.quarantine import Item, Quarantine

RULE_PROTOCOL: Final = "EventAction"
"""Protocol of sessions that event rules open, in the log and in events."""
QUARANTINE_PROTOCOL: Final = "Quarantine"
"""The protocol of files that are released."""
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
        named: it is asked about uploads when they have their names, after those that are not, where storage
            can put back what was there before (`tidegate.abc.SetsAside`). New files may have theirs earlier.
        wants: says if it has a question about an act at all; None if always.
        early: of uploads it is asked while they arrive; see `InspectedAct.arriving`.
    """

    name: str
    inspector: Inspector
    acts: frozenset[Inspected]
    seconds: float
    allow_on_error: bool = False
    keeps_old: bool = False
    named: bool = False
    wants: Callable[[InspectedAct], bool] | None = None
    early: bool = False

    @property
    def rule(self) -> str:
        """The rule that its refusals are recorded under."""
        return rule_of(self.name)


class Refused(Denied):
    """The refusal of an inspector.

    Attributes:
        infected: see `Verdict`.
        kept: the content of the upload, where it is in quarantine now.
        accepted: the client is told that the upload has arrived.
    """

    infected = False
    kept: Item | None = None
    accepted = False


def rule_of(name: str) -> str:
    """The rule of an inspector's refusals."""
    return f"inspector[{name}]"


class Inspections:
    """Asks them. Life: constructed, `open`, `require`..., `close` (legal after a failed open).

    Attributes:
        login, open_upload, upload, download, delete: True if some inspector is asked about such acts.
        keeps_old: see `InspectorUse`.
        hides_new: some inspector is asked before a new file has its name.
        named: some inspector is asked when uploads have their names; see `InspectorUse`.
        early: names of those that are asked about uploads while they arrive.
        quarantine: keeps what is not to be lost though it is refused; None where there is none.
    """

    def __init__(self, uses: Sequence[InspectorUse], quarantine: Quarantine | None = None) -> None:
        self._uses = tuple(uses)
        self.quarantine = quarantine
        self._opened: list[InspectorUse] = []
        self.login = self.open_upload = self.upload = self.download = self.delete = False
        self.keeps_old = self.hides_new = self.named = False
        self.early: tuple[str, ...] = ()
        self._look()

    def _look(self) -> None:
        asked = {kind: any(kind in use.acts for use in self._uses) for kind in Inspected}
        self.login = asked[Inspected.LOGIN]
        self.open_upload = asked[Inspected.OPEN_UPLOAD]
        self.upload = asked[Inspected.UPLOAD]
        self.download = asked[Inspected.DOWNLOAD]
        self.delete = asked[Inspected.DELETE]
        uploads = [use for use in self._uses if Inspected.UPLOAD in use.acts]
        self.keeps_old = any(use.keeps_old for use in uploads)
        self.hides_new = any(use.keeps_old and not use.named for use in uploads)
        self.named = any(use.named for use in uploads)
        # Answers are kept by name: of several with one name none is asked early, so that each is heard.
        names = Counter(use.name for use in uploads)
        self.early = tuple(use.name for use in uploads if use.early and names[use.name] == 1)

    def replace(self, use: InspectorUse) -> None:
        """Ask an inspector from now on, last; one of its name is not asked any more. It is open already."""
        others = tuple(one for one in self._uses if one.name != use.name)
        self._uses = (*others, use)
        self._look()

    async def open(self) -> None:
        """Open the inspectors and the quarantine.

        Raises:
            StorageFailed: the directory of the quarantine cannot be used.
        """
        if self.quarantine is not None:
            await self.quarantine.open()
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

    def begin(self, act: InspectedAct, read: Callable[[str], Read], ended: Callable[[str], None]) -> Begun:
        """Ask those in `early` about an upload that is arriving.

        Args:
            act: the upload.
            read: gives each inspector, by name, the way to read it.
            ended: see `Begun`.
        """
        from tidegate.inspection.early import Begun

        tasks = {
            use.name: asyncio.create_task(
                _ask_early(use, replace(act, read=read(use.name))), name=f"{use.rule}: {act.path}"
            )
            for use in self._uses
            if use.name in self.early and not released(act)
        }
        return Begun(tasks, ended)

    def asks_named(self, act: InspectedAct) -> bool:
        """True if some inspector wants to be asked about an upload when it has its name."""
        return not released(act) and any(
            use.named and act.kind in use.acts and (use.wants is None or use.wants(act)) for use in self._uses
        )

    async def require(
        self, act: InspectedAct, begun: Begun | None = None, *, named: bool | None = None
    ) -> None:
        """Return if every inspector that is asked about such acts allows this one.

        Args:
            act: it.
            begun: those that were asked while it arrived; their answers are waited for.
            named: ask only those that are `InspectorUse.named`, or only the others; None asks all.

        Raises:
            Refused: the first that does not; `rule` names it.
        """
        if released(act):
            return
        for use in self._uses:
            if act.kind not in use.acts or (named is not None and use.named is not named):
                continue
            verdict = None if begun is None else await begun.verdict(use.name)
            if verdict is None:
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
                refusal = Refused(_shown(verdict.text) or Denied.default_text, rule=use.rule)
                refusal.infected = verdict.infected
                if verdict.quarantine and act.kind is Inspected.UPLOAD:
                    refusal.kept = await self._keep(act, use.rule, reason)
                    refusal.accepted = refusal.kept is not None and self._accepts()
                raise refusal

    def _accepts(self) -> bool:
        return self.quarantine is not None and self.quarantine.options.accept

    async def _keep(self, act: InspectedAct, rule: str, reason: str) -> Item | None:
        if self.quarantine is None or act.read is None:
            log.warning(
                "%r of %s is not kept: its storage cannot give it back", act.path, act.origin.username
            )
            return None
        return await self.quarantine.keep(act, act.read, rule=rule, reason=reason)


def released(act: InspectedAct) -> bool:
    """True of an upload that an administrator releases from the quarantine: it was inspected."""
    return act.kind is Inspected.UPLOAD and act.origin.protocol == QUARANTINE_PROTOCOL


async def _ask_early(use: InspectorUse, act: InspectedAct) -> Verdict | None:
    """The answer about an upload that is arriving; None if the inspector is to be asked at its end."""
    try:
        return await _ask(use, act)
    except NotNow:
        return None


async def _ask(use: InspectorUse, act: InspectedAct) -> Verdict:
    try:
        if act.arriving and act.read is not None:
            from tidegate.inspection.patience import Patience

            async with Patience(use.seconds, act.read) as patience:
                return await use.inspector.inspect(replace(act, read=patience.read))
        async with asyncio.timeout(use.seconds):
            return await use.inspector.inspect(act)
    except Exception as error:
        if act.arriving and isinstance(error, NotNow):
            raise
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
