# SPDX-License-Identifier: Apache-2.0
"""Templates: values are escaped, control characters are shown, figures are written as people read them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import ChoiceLoader, DictLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from tidegate.web.admin import assets_store
from tidegate.web.figures import size, span

BASE: Final = "/web/admin"
"""Path of the site."""

_log = logging.getLogger(__name__)

_HIDDEN: Final = {
    code: f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"
    for code in (
        *(code for code in range(0x20) if code not in (0x09, 0x0A, 0x0D)),
        *range(0x7F, 0xA0),
        0x061C, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF,
        *range(0xD800, 0xE000),
    )
}  # fmt: skip
"""Characters that a browser would not show, or that turn text around: control characters, marks of direction
and lone surrogates (bytes of names that are not UTF-8)."""


def visible(value: Any) -> Any:
    """Text whose invisible characters are escapes; anything else as it is."""
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        return value.translate(_HIDDEN)
    return value


def count(number: float) -> str:
    """A number of things: 12,408."""
    return f"{number:,.0f}"


def moment(milliseconds: float, *, now: float | None = None) -> str:
    """A time in UTC: seconds ago below a minute, the clock today, else the date; ``never`` for 0."""
    if not milliseconds:
        return "never"
    seconds = milliseconds / 1000
    today = time.time() if now is None else now
    if 0 <= today - seconds < 60:
        return f"{today - seconds:.0f} s ago"
    at, here = datetime.fromtimestamp(seconds, UTC), datetime.fromtimestamp(today, UTC)
    return at.strftime("%H:%M:%S" if at.date() == here.date() else "%Y-%m-%d %H:%M")


def exact(milliseconds: float) -> str:
    """A time in UTC in full, for titles and machines (RFC 3339)."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def url(*parts: str, **query: Any) -> str:
    """The URL of a page: each part of its path is percent-encoded once; empty parameters are left out.

    Names that are not UTF-8 stand there as their bytes.
    """
    path = "/".join(quote(_bytes(part), safe="") for part in parts)
    wanted = {
        name: _bytes(value) if isinstance(value, str) else value
        for name, value in query.items()
        if value not in (None, "", 0, False)
    }
    return f"{BASE}/{path}" + (f"?{urlencode(wanted)}" if wanted else "")


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")  # a surrogate that stands for no byte: it names nothing


def share(used: float, limit: float) -> int:
    """Per cent of a limit in use, 0 to 100."""
    return max(0, min(100, int(100 * used / limit))) if limit > 0 else 0


def _attribute(value: Any) -> str:
    """JSON for a data attribute; autoescape makes it safe there."""
    return json.dumps(value, separators=(",", ":"))


class Look:
    """Templates and files of the pages, with those of an operator in front.

    Args:
        templates: own ones by name. One that fails while it is filled in gives way to the package's.
        files: own ones by name.

    Attributes:
        assets: every file.
        environment: every template.
    """

    def __init__(
        self, templates: Mapping[str, str] | None = None, files: Mapping[str, bytes] | None = None
    ) -> None:
        self.assets: Final = assets_store.with_own(files or {})
        self._own: Final = dict(templates or {})
        self.environment: Final = _environment(self._own, self.assets)
        self._failed: set[str] = set()

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """A template with its values."""
        if not self._own:
            return self.environment.get_template(template).render(context)
        try:
            return self.environment.get_template(template).render(context)
        except Exception as error:  # whatever the operator's text does must not shut administrators out
            if template not in self._failed:
                self._failed.add(template)
                _log.error("a template of httpd.templates_path fails in %s: %s; the page is shown without it",
                           template, error)  # fmt: skip
        return standard().render(template, context)


@cache
def standard() -> Look:
    """The look of the package."""
    return Look()


def environment() -> Environment:
    """The templates of the package."""
    return standard().environment


def _environment(own: dict[str, str], assets: assets_store.Assets) -> Environment:
    package = PackageLoader("tidegate.web.admin")
    # Own templates say what is shown; they are not to reach into what they are given.
    kind = ImmutableSandboxedEnvironment if own else Environment
    made = kind(
        loader=ChoiceLoader([DictLoader(own), package, PrefixLoader({"tidegate": package})])
        if own
        else package,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
        auto_reload=False,
    )

    def asset(name: str) -> str:
        if name not in assets.by_name:
            raise KeyError(f"no such asset: {name}")
        return f"{BASE}/assets/{assets.version}/{name}"

    def icon(name: str, kind: str = "") -> Markup:
        classes = Markup("ico {}").format(kind) if kind else Markup("ico")
        return Markup('<svg class="{}" aria-hidden="true"><use href="{}#{}"></use></svg>').format(
            classes, asset("icons.svg"), name
        )

    made.globals |= {"url": url, "asset": asset, "icon": icon, "base": BASE, "share": share}
    made.filters |= {
        "count": count,
        "size": size,
        "rate": lambda number: size(number, rate=True),
        "span": span,
        "moment": moment,
        "exact": exact,
        "json": _attribute,
    }
    return made
