"""Makes the one file `tidegate` of wheels, for several Pythons; docs/adr/0067-packages.md says why so."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from newest_python import candidates, version

OLDEST = (3, 11)


def interpreters() -> list[str]:
    """One interpreter for each released minor version that is on this machine, the oldest first."""
    found: dict[tuple[int, ...], tuple[tuple[int, ...], str]] = {}
    for path in dict.fromkeys([sys.executable, *candidates()]):
        numbers = version(path) if Path(path).exists() else ()
        if numbers[:2] >= OLDEST and numbers > found.get(numbers[:2], ((), ""))[0]:
            found[numbers[:2]] = numbers, path
    return [found[minor][1] for minor in sorted(found)]


def make(wheels: Path, extras: Iterable[str], pythons: list[str], target: Path, cache: Path) -> None:
    """Put wheels that are there already into one file; nothing is fetched or compiled.

    Args:
        wheels: a directory with wheels for each of the Pythons, and ours.
        extras: of the package.
        pythons: interpreters that the file is for.
        target: the file.
        cache: a directory for what pex unpacks.
    """
    chosen = [word for python in pythons for word in ("--python", python)]
    subprocess.run(
        [
            *(sys.executable, "-m", "pex", f"tidegate[{','.join(extras)}]"),
            *("--pre-resolved-dists", str(wheels), *chosen),
            # An environment in the cache, made at the first start: the interpreter's own import then, no zip.
            *("--console-script", "tidegate", "--venv", "--sh-boot"),
            *("--output-file", str(target)),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "PEX_ROOT": str(cache)},
    )
