# SPDX-License-Identifier: Apache-2.0
"""The command line of all fuzzers: cases made from seeds, for some seconds or some number of them.

Every case is made from a seed, so a failure is repeated with ``--seed N --count 1``. The seed of a failure is
added to `KEPT`, which belongs to the repository: the test suite runs each seed in it again.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

KEPT: Final = Path(__file__).with_name("seeds.txt")
"""A fuzzer and a seed a line; what follows ``#`` is a remark."""


def kept(file: Path = KEPT) -> Iterator[tuple[str, int]]:
    """Fuzzers and seeds that are run again."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if words_of := line.partition("#")[0].split():
            yield words_of[0], int(words_of[1])


def keep(fuzzer: str, seed: int, file: Path = KEPT) -> None:
    """Keep a seed, once."""
    if (fuzzer, seed) not in kept(file):
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"{fuzzer} {seed}\n")


class Strict(logging.Handler):
    """A dialogue logs what nobody foresaw; here that is a failure."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: logging.LogRecord | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.seen = record

    def check(self) -> None:
        if self.seen is not None:
            raise AssertionError(self.seen.getMessage()) from (self.seen.exc_info or (0, None))[1]


def words(chance: random.Random, known: Sequence[bytes], most: int = 12) -> bytes:
    """Bytes made of known words and of chance."""
    return b"".join(
        chance.choice(known) if chance.random() < 0.7 else chance.randbytes(chance.randrange(20))
        for _ in range(chance.randrange(most))
    )


def run(
    file: str,
    doc: str | None,
    case: Callable[[random.Random, int], None],
    one: Callable[[bytes], None],
    *,
    what: str = "inputs",
    logger: str = "",
) -> int:
    """Run a fuzzer; its exit status.

    Args:
        file: its name, for the line that repeats a failure.
        doc: its description.
        case: takes the chance of one seed, and the seed; raises what is a failure.
        one: takes bytes, for ``--atheris``.
        what: cases are called.
        logger: one that must stay silent; empty for none.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="how long to run")
    parser.add_argument("--seed", type=int, default=None, help="first seed; random if left out")
    parser.add_argument("--count", type=int, default=None, help=f"number of {what}; else as many as fit")
    parser.add_argument("--seeds", type=Path, default=KEPT, help="file that seeds of failures are added to")
    parser.add_argument("--atheris", action="store_true", help="run under atheris, a package of its own")
    options = parser.parse_args()
    if options.atheris:
        import atheris

        atheris.instrument_all()
        atheris.Setup(sys.argv[:1], one)
        atheris.Fuzz()
        return 0
    strict = Strict()
    if logger:
        logging.getLogger(logger).addHandler(strict)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    stop, done = time.monotonic() + options.seconds, 0
    while done < options.count if options.count is not None else time.monotonic() < stop:
        here = seed + done
        try:
            case(random.Random(here), here)
            strict.check()
        except BaseException:
            print(f"failed: python fuzz/{file} --seed {here} --count 1", file=sys.stderr)
            keep(file, here, options.seeds)
            raise
        done += 1
    print(f"{done} {what} from seed {seed}, no failure")
    return 0
