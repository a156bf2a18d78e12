# SPDX-License-Identifier: Apache-2.0
"""The pages that there are: path, permission, place in the navigation and handler of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Final, Literal

from starlette.responses import Response

from tidegate.web.admin import pages

if TYPE_CHECKING:
    from tidegate.web.admin.visit import Visit

Group = Literal["Now", "Who", "What follows", "Defence", "This server"]

GROUPS: Final[tuple[Group, ...]] = ("Now", "Who", "What follows", "Defence", "This server")
"""Groups of the navigation in their order."""

Handler = Callable[["Visit"], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nav:
    """An entry of the navigation.

    Attributes:
        group: that it stands in.
        label: its text.
        icon: name of a symbol of `assets/icons.svg`.
        order: place within the group, from small to large.
        key: letter that opens it after ``g``; empty for none.
    """

    group: Group
    label: str
    icon: str
    order: int
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One path of the site.

    Attributes:
        path: below ``/web/admin``, as Starlette writes paths: ``/users/{name:path}``. Where two fit, the
            longer text counts as the more special and is asked first.
        show: answers GET; None if there is nothing to see.
        act: answers POST, after the form's token was checked; None if nothing can be done.
        needs: permission without which the path is refused; empty lets every administrator in.
        nav: entry of the navigation, if it has one.
        action: what can be done there, for the command palette, such as "Add a user"; empty for nothing.
        open_to_all: nobody has to be signed in; `Visit.who` is None then.
        unsettled: also for administrators who have to change their password or set up codes first.
        streams: what `show` answers goes on, or a script asks for it again and again; asking for it does not
            keep the session alive.
        takes_file: what `act` reads is a form with a file (multipart/form-data).
        of_records: for administrators with a record alone, not for users of `httpd.auth_user_file`.
    """

    path: str
    show: Handler | None = None
    act: Handler | None = None
    needs: str = ""
    nav: Nav | None = None
    action: str = ""
    open_to_all: bool = False
    unsettled: bool = False
    streams: bool = False
    takes_file: bool = False
    of_records: bool = False


@cache
def all_pages() -> tuple[Page, ...]:
    """Every page, those with special paths first.

    Raises:
        ValueError: two pages have one path.
    """
    found: list[Page] = []
    for module in sorted(iter_modules(pages.__path__), key=lambda one: one.name):
        found += getattr(import_module(f"{pages.__name__}.{module.name}"), "PAGES", ())
    paths = [page.path for page in found]
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise ValueError(f"two pages have the path {min(twice)}")
    return tuple(sorted(found, key=lambda page: ("{" in page.path, -len(page.path), page.path)))


def navigation(allowed: Callable[[str], bool]) -> dict[Group, list[Page]]:
    """The entries that somebody may use, by group; groups without any are left out."""
    shown = [page for page in all_pages() if page.nav and (not page.needs or allowed(page.needs))]
    groups: dict[Group, list[Page]] = {}
    for group in GROUPS:
        entries = [page for page in shown if page.nav is not None and page.nav.group == group]
        if entries:
            groups[group] = sorted(entries, key=lambda page: page.nav.order if page.nav else 0)
    return groups
