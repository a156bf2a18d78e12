# SPDX-License-Identifier: Apache-2.0
"""`check_backend`: the whole contract of `tidegate.abc.Backend`, to be run against your own.

Give it a factory that makes an unopened backend with an empty root::

    async def test_contract() -> None:
        await check_backend(MyBackend)

or run the checks one by one, for reports that name them::

    @pytest.mark.parametrize("check", backend_checks(), ids=lambda check: check.__name__)
    async def test_contract(check: BackendCheck) -> None:
        await run_check(check, MyBackend)

What a backend does not declare in `capabilities` is expected to raise `Unsupported`; the rest is expected to
work. A broken promise is an AssertionError whose text is the promise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from tidegate.abc import Backend
from tidegate.errors import (
    TidegateError,
)
from tidegate.testing import backend_checks_files as files
from tidegate.testing import backend_checks_quick as quick
from tidegate.testing import backend_checks_replacing as replacing
from tidegate.testing import backend_checks_tree as tree
from tidegate.testing.backend_support import (
    READ,
    exists,
    expect,
    expect_error,
    get,
    names,
    options_for,
    publishable,
    put,
)

BackendFactory = Callable[[], Backend]
"""Makes an unopened backend with an empty root."""
BackendCheck = Callable[[Backend], Awaitable[None]]
"""One part of the contract, run on an open backend with an empty root."""

_CHECKS: Final[tuple[BackendCheck, ...]] = (
    files.check_empty_root,
    files.check_bad_keys,
    files.check_root_is_fixed,
    files.check_missing,
    files.check_names,
    files.check_reading,
    files.check_handles,
    files.check_writing,
    files.check_create_flags,
    files.check_random_write,
    files.check_publishing,
    files.check_parallel_uploads,
    files.check_versions,
    files.check_targets_that_changed,
    files.check_resuming,
    files.check_edit_outcomes,
    tree.check_listing,
    tree.check_listing_that_changes,
    tree.check_directories,
    tree.check_renaming,
    tree.check_attributes,
    tree.check_links,
    tree.check_copying,
    replacing.check_replaced_trees,
    replacing.check_set_aside,
    tree.check_space,
    tree.check_undeclared,
    quick.check_quick_reading,
    quick.check_quick_reading_leaves_the_rest,
    quick.check_quick_creating,
    quick.check_quick_creating_spares_what_is_there,
    quick.check_quick_creating_in_other_ways,
    quick.check_quick_keys,
    quick.check_quick_endings,
    quick.check_quick_drop_after_moves,
)


def backend_checks() -> tuple[BackendCheck, ...]:
    """All checks, for running them one by one with `run_check`."""
    return _CHECKS


async def run_check(check: BackendCheck, factory: BackendFactory) -> None:
    """Run one check on a backend of its own."""
    backend = factory()
    try:
        await backend.open()
        await check(backend)
    finally:
        await backend.close()


async def check_backend(factory: BackendFactory) -> None:
    """Run the whole contract, each check on a fresh backend.

    Args:
        factory: makes an unopened backend with an empty root.

    Raises:
        AssertionError: a promise was broken; the text names the check and the promise.
    """
    closed_unopened = factory()
    await closed_unopened.close()  # legal after a failed open
    for check in _CHECKS:
        try:
            await run_check(check, factory)
        except AssertionError as error:
            raise AssertionError(f"{getattr(check, '__name__', check)}: {error}") from error
        except TidegateError as error:
            text = f"{getattr(check, '__name__', check)}: unexpected {type(error).__name__} ({error})"
            raise AssertionError(text) from error


__all__ = [
    "READ",
    "BackendCheck",
    "BackendFactory",
    "backend_checks",
    "check_backend",
    "exists",
    "expect",
    "expect_error",
    "get",
    "names",
    "options_for",
    "publishable",
    "put",
    "run_check",
]
