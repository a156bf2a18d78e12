# SPDX-License-Identifier: Apache-2.0
"""Replays a seed with its trace, or runs many and reports those that fail."""

from __future__ import annotations

import argparse
import logging
import sys

from tidegate.testing.simulation.history import Rules, generate
from tidegate.testing.simulation.minimize import minimal
from tidegate.testing.simulation.operations import OPERATIONS
from tidegate.testing.simulation.world import simulate


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tidegate.testing.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds; one is shown with its trace")
    parser.add_argument("--minimize", action="store_true", help="look for a smaller history that fails too")
    parser.add_argument("--max-failures", type=int, default=5, help="stop after so many")
    parser.add_argument("--only", type=_names, default=(), help="acts that occur, separated by commas")
    parser.add_argument("--without", type=_names, default=(), help="acts that do not occur")
    parser.add_argument("--kinds", type=_names, default=None, help="kinds of faults; empty for none")
    parser.add_argument("--modes", type=_names, default=("0", "1", "2"), help="upload modes")
    parser.add_argument("--no-cuts", action="store_true", help="lines do not break in the middle of an act")
    parser.add_argument("--no-early", action="store_true", help="clients wait for the count at the start")
    parser.add_argument("--no-links", action="store_true", help="there are no links")
    parser.add_argument("--one-client", action="store_true", help="only one client comes")
    parser.add_argument("--no-overlap", action="store_true", help="a client does one thing at a time")
    return parser


def _rules(options: argparse.Namespace) -> Rules:
    unknown = {*options.only, *options.without} - OPERATIONS.keys()
    if unknown:
        raise SystemExit(f"no such act: {', '.join(sorted(unknown))}; there are {', '.join(OPERATIONS)}")
    plain = Rules()
    return Rules(
        acts=tuple(
            name for name in options.only or OPERATIONS if name in OPERATIONS and name not in options.without
        ),
        kinds=plain.kinds if options.kinds is None else options.kinds,
        modes=tuple(int(mode) for mode in options.modes),
        cuts=not options.no_cuts,
        early=not options.no_early,
        links=not options.no_links,
        clients=not options.one_client,
        overlap=not options.no_overlap,
    )


def main() -> int:
    """The command; 1 if a history failed."""
    options = _parser().parse_args()
    rules = _rules(options)
    logging.disable(logging.CRITICAL)
    say = sys.stdout.write
    run = failed = 0
    while run < options.count and failed < options.max_failures:
        history = generate(options.seed + run, rules)
        run += 1
        outcome = simulate(history)
        if outcome.failures and options.minimize:
            history = minimal(history)
            outcome = simulate(history)
        if outcome.failures or options.count == 1:
            say("\n  ".join([str(history), *outcome.failures]) + "\n")
        if options.count == 1 or (outcome.failures and options.minimize):
            say("\n".join(outcome.trace) + "\n")
        failed += bool(outcome.failures)
    say(f"{failed} of {run} histories failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
