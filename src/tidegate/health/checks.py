# SPDX-License-Identifier: Apache-2.0
"""Named checks that run together, so seldom that anybody may ask for them."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tidegate.errors import TidegateError

FRESH_SECONDS: Final = 5.0
"""Seconds that findings are given again."""
FRESH_FAULT_SECONDS: Final = 1.0
"""The same for a report with a fault in it: who repairs something looks again soon."""
CHECK_SECONDS: Final = 5.0
"""Seconds that one check may take."""
MAX_TEXT: Final = 300
"""Characters of the text of a finding."""

_log = logging.getLogger(__name__)


class State(enum.IntEnum):
    """A state; the greater, the worse."""

    OK = 0
    WARN = 1
    FAIL = 2

    @property
    def word(self) -> str:
        """Its name in answers: ``ok``, ``warn``, ``fail``."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        state: of what was checked.
        text: what is wrong, or a remark; for operators.
        data: figures, ready for JSON.
    """

    state: State = State.OK
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


Check = Callable[[], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Report:
    """The results of all checks.

    Attributes:
        findings: by the name of the check, in the order of the checks.
        seconds: the time that each took.
    """

    findings: Mapping[str, Finding]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """The worst state."""
        return max((finding.state for finding in self.findings.values()), default=State.OK)

    def document(self, *, details: bool) -> dict[str, Any]:
        """The report for JSON; texts and figures only with `details`."""
        checks: list[dict[str, Any]] = []
        for name, finding in self.findings.items():
            shown: dict[str, Any] = {"name": name, "status": finding.state.word}
            if details:
                shown |= {
                    "text": finding.text,
                    "elapsed_ms": round(self.seconds.get(name, 0.0) * 1000, 1),
                    **finding.data,
                }
            checks.append(shown)
        return {"status": self.state.word, "checks": checks}


class Checks:
    """The checks of one server.

    Args:
        checks: by name.
        monotonic: seconds.
    """

    def __init__(self, checks: Mapping[str, Check], monotonic: Callable[[], float]) -> None:
        self._checks = checks
        self._monotonic = monotonic
        self._report = Report({})
        self._made: float | None = None
        self._lock = asyncio.Lock()

    @property
    def last(self) -> Report:
        """The last report; empty before the first."""
        return self._report

    async def report(self) -> Report:
        """A report that is at most `FRESH_SECONDS` old; one with faults at most `FRESH_FAULT_SECONDS`.

        One round runs at a time, whoever asks.
        """
        async with self._lock:
            fresh = FRESH_FAULT_SECONDS if self._report.state else FRESH_SECONDS
            if self._made is None or self._monotonic() - self._made >= fresh:
                outcomes = await asyncio.gather(*(self._run(one) for one in self._checks.items()))
                findings = {name: finding for name, finding, _ in outcomes}
                self._report = Report(findings, {name: seconds for name, _, seconds in outcomes})
                self._made = self._monotonic()
            return self._report

    async def _run(self, one: tuple[str, Check]) -> tuple[str, Finding, float]:
        name, check = one
        started = self._monotonic()
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                finding = await check()
        except TimeoutError:
            finding = Finding(State.FAIL, f"no answer for {CHECK_SECONDS:g} s")
        except TidegateError as error:
            finding = Finding(State.FAIL, str(error))
        except OSError as error:
            finding = Finding(State.FAIL, error.strerror or type(error).__name__)
        except Exception:
            _log.exception("the check %s failed", name)
            finding = Finding(State.FAIL, "the check itself failed; the log says why")
        if len(finding.text) > MAX_TEXT:
            finding = Finding(finding.state, f"{finding.text[:MAX_TEXT]}...", finding.data)
        return name, finding, self._monotonic() - started


def worst(findings: Sequence[Finding]) -> Finding:
    """Several findings as one: the worst state, the texts of those that have it."""
    state = max((one.state for one in findings), default=State.OK)
    texts = [one.text for one in findings if one.state is state and one.text]
    return Finding(state, "; ".join(texts))
