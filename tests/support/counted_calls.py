# SPDX-License-Identifier: Apache-2.0
"""A program that is `tidegate` and counts the Python functions that its main thread runs between two signals.

The first `COUNT` makes the file that ``COUNTED_TO`` names, empty; the second writes the counts of calls by
function to it, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from tidegate.cli.main import main

COUNT = signal.SIGRTMIN + 5
COUNTED_TO = "COUNTED_TO"


def count() -> None:
    """Count from the next signal to the one after it."""
    target = Path(os.environ[COUNTED_TO])
    calls: Counter[CodeType] = Counter()

    def note(frame: FrameType, what: str, _: object) -> None:
        if what == "call":
            calls[frame.f_code] += 1

    def switch(*_: object) -> None:
        if sys.getprofile() is None:
            target.touch()
            sys.setprofile(note)
        else:
            sys.setprofile(None)
            named: Counter[str] = Counter()
            for code, number in calls.items():
                named[f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}"] += number
            part = target.with_suffix(".part")
            part.write_text(json.dumps(named))
            part.rename(target)

    signal.signal(COUNT, switch)


if __name__ == "__main__":
    count()
    sys.exit(main())
