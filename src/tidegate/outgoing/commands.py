# SPDX-License-Identifier: Apache-2.0
"""Settings of programs by the operator: time, environment and arguments, for all and for single ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tidegate.outgoing.programs import ProgramCall

USUAL_SECONDS: Final = 30.0
"""Of a program for which nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class CommandUse:
    """Settings of one program.

    Attributes:
        path: of the program.
        seconds: most that it may take; None for the time of all.
        env: added to its variables.
        args: its arguments.
        hook: only when it is used as this; empty always.
    """

    path: str
    seconds: float | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    args: tuple[str, ...] = ()
    hook: str = ""


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """Section ``command`` of the configuration.

    Attributes:
        seconds: most that programs may take; None if nobody chose a time.
        env: variables of every program.
        commands: of single ones; the first that fits is used.
    """

    seconds: float | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    commands: tuple[CommandUse, ...] = ()

    def of(self, path: str, hook: str) -> CommandUse | None:
        """The settings of a program that is used as a hook (``pre_login``, ``fs_actions``...)."""
        return next((one for one in self.commands if one.path == path and one.hook in ("", hook)), None)

    def call(
        self,
        path: str,
        hook: str,
        env: Mapping[str, str],
        *,
        seconds: float = USUAL_SECONDS,
        args: tuple[str, ...] = (),
        source: str = "",
    ) -> ProgramCall:
        """The call of a program: variables of all, its own, then those of the call.

        Args:
            path: of the program.
            hook: what it is used as.
            env: of the call.
            seconds: most that it may take if nobody chose a time.
            args: of the call, after those of the settings.
            source: see `ProgramCall.source`.
        """
        use = self.of(path, hook)
        chosen = use.seconds if use is not None and use.seconds is not None else self.seconds
        own = use.env if use is not None else {}
        first = use.args if use is not None else ()
        return ProgramCall(
            (path, *first, *args),
            {**self.env, **own, **env},
            seconds=seconds if chosen is None else chosen,
            source=source,
        )
