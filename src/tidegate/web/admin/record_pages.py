# SPDX-License-Identifier: Apache-2.0
"""Pages that all kinds of records have in common: list, form, two people at once, deleting.

A kind of record says what its list shows and what its form has; everything else is done here.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.versions import encoded, version_of
from tidegate.errors import AlreadyExists, BadRecord, Denied, InvalidArgument, Outdated, TidegateError
from tidegate.web.admin.field_values import Values
from tidegate.web.admin.record_form import RecordForm
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import url
from tidegate.web.admin.user_form import merged
from tidegate.web.admin.visit import Visit

ROWS: Final = 50
"""Records of a page."""
SCANNED: Final = 5_000
"""Records that a search looks through."""
CHUNK: Final = 500
MAX_OFFSET: Final = 10**6
MAX_BEFORE: Final = 512 * 1024
"""Characters of the form as it was shown, which it sends back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a list.

    Attributes:
        name: of the record, for its URL.
        text: that is shown for it; the name if it is empty.
        sub: second line below.
        cells: texts of the columns.
        level: of the pill around the first cell; empty for plain text.
    """

    name: str
    text: str = ""
    sub: str = ""
    cells: Sequence[str] = ()
    level: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """A kind of record that has pages.

    Attributes:
        path: of the list.
        new_path: of the form for a new one.
        noun: for sentences, such as "group".
        plural: likewise.
        needs: permission for everything here.
        nav: entry of the navigation.
        form: fields.
        blank: document of a new one.
        verbs: that add, change and remove.
        page: records by offset and limit.
        columns: heads of the list beside the name.
        row: a record for the list.
        lede: sentence below the title of the list.
        empty: title and text of the empty list, and a command that makes the first one.
        template: of the form; `list_template` of the list.
        more: further values for the form; what stands in ``used_by`` keeps the record from going.
        gone: sentence about what goes with a record.
        changed: called after every change.
    """

    path: str
    new_path: str
    noun: str
    plural: str
    needs: str
    nav: Nav
    form: RecordForm
    blank: Mapping[str, Any] = field(default_factory=dict)
    verbs: Callable[[Visit], Any]
    page: Callable[[Visit, int, int], Awaitable[Sequence[Any]]]
    columns: Sequence[str]
    row: Callable[[Visit, Any], Awaitable[Row]]
    lede: str
    empty: tuple[str, str, str]
    template: str = "record.html"
    list_template: str = "records.html"
    more: Callable[[Visit, Any | None], Awaitable[Mapping[str, Any]]]
    gone: str = ""
    changed: Callable[[Visit], Awaitable[None]] | None = None

    @property
    def title(self) -> str:
        """The title of the list."""
        return self.plural[:1].upper() + self.plural[1:]

    def pages(self) -> tuple[Page, ...]:
        """The pages of this kind."""
        return (
            Page(path=f"/{self.path}", show=self.list, needs=self.needs, nav=self.nav),
            Page(
                path=f"/{self.new_path}",
                show=self.show_new,
                act=self.add,
                needs=self.needs,
                action=f"Add {'an' if self.noun[0].lower() in 'aeiou' else 'a'} {self.noun}",
            ),
            Page(path=f"/{self.path}/{{name:path}}", show=self.show, act=self.save, needs=self.needs),
            Page(
                path=f"/{self.path}/{{name:path}}/delete",
                show=self.confirm_delete,
                act=self.delete,
                needs=self.needs,
            ),
        )

    def _name(self, record: Any) -> str:
        return str(getattr(record, self.form.key))

    def label(self, record: Any) -> str:
        """The word for a record in sentences."""
        return self._name(record)

    # -- list ------------------------------------------------------------------------------------------------

    async def list(self, visit: Visit) -> Response:
        """The list, or what a search finds."""
        text, given = visit.query("q").strip(), visit.query("first", longest=8)
        first = min(int(given), MAX_OFFSET) if given.isascii() and given.isdigit() else 0
        found, whole = await self._found(visit, text, first)
        more = len(found) > ROWS
        context = {
            "kind": self,
            "rows": [await self.row(visit, record) for record in found[:ROWS]],
            "text": text,
            "first": first,
            "whole": whole,
            "before": url(self.path, q=text, first=max(first - ROWS, 0)) if first else "",
            "after": url(self.path, q=text, first=first + ROWS) if more else "",
            **await self.list_more(visit),
        }
        return visit.html("records_rows.html" if visit.partial else self.list_template, context)

    async def list_more(self, visit: Visit) -> Mapping[str, Any]:
        """Further values for the list."""
        del visit
        return {}

    async def _after(self, visit: Visit) -> None:
        if self.changed is not None:
            await self.changed(visit)

    async def _found(self, visit: Visit, text: str, first: int) -> tuple[Sequence[Any], bool]:
        """A page and one record more, and whether all records were looked at."""
        if not text:
            return await self.page(visit, first, ROWS + 1), True
        found: list[Any] = []
        wanted = text.casefold()
        for offset in range(0, SCANNED, CHUNK):
            page = await self.page(visit, offset, CHUNK)
            found += [one for one in page if wanted in f"{self.label(one)}\n{_about(one)}".casefold()]
            if len(page) < CHUNK or len(found) > first + ROWS:
                return found[first:], True
        return found[first:], False

    # -- form ------------------------------------------------------------------------------------------------

    async def show_new(self, visit: Visit) -> Response:
        """The empty form."""
        values = self.form.values_of(self.blank)
        return await self._form(visit, None, values, before=values)

    async def show(self, visit: Visit) -> Response:
        """The form of a record."""
        record = await self.verbs(visit).get(visit.name())
        values = self.form.values_of(encoded(record))
        return await self._form(visit, record, values, before=values)

    async def _form(
        self,
        visit: Visit,
        record: Any | None,
        values: Values,
        *,
        before: Values,
        errors: Mapping[str, str] | None = None,
        conflict: Mapping[str, Any] | None = None,
        status: int = 200,
    ) -> Response:
        errors = errors or {}
        context = {
            "kind": self,
            "record": record,
            "name": "" if record is None else self._name(record),
            "label": "" if record is None else self.label(record),
            "account": None,
            "values": {**self.form.values_of(self.blank), **values},
            "errors": errors,
            "wrong_in": [self.form.section(name) for name in errors if name],
            "conflict": conflict,
            "version": "" if record is None else version_of(record),
            "before": json.dumps(before, separators=(",", ":")),
            "fields": self.form.fields,
            "sections": self.form.sections,
            "check_url": "",
            "try_url": "",
            "used_by": (),
            **await self.more(visit, record),
        }
        return visit.html(self.template, context, status=status)

    async def add(self, visit: Visit) -> Response:
        """Add a record."""
        values, before = self.form.posted(visit.form), self.form.values_of(self.blank)
        try:
            document = self.form.apply(self.blank, values, self.form.touched(before, values))
            document[self.form.key] = visit.form[self.form.key].strip()
            stored = await self.verbs(visit).add(document, by=visit.actor, **self._password(visit))
        except (BadRecord, AlreadyExists, Denied, InvalidArgument) as error:
            return await self._again(visit, None, values, before, error)
        await self._after(visit)
        name = self._name(stored)
        return visit.go(self.path, name, done=f"{name} is added.")

    async def save(self, visit: Visit) -> Response:
        """Change a record, unless somebody else has changed the same fields meanwhile."""
        verbs = self.verbs(visit)
        record = await verbs.get(visit.name())
        name = self._name(record)
        values, before = self.form.posted(visit.form), read_before(visit)
        names, password = self.form.touched(before, values), self._password(visit)
        try:
            document = self.form.apply(encoded(record), values, names)
            if not names and not password:
                return visit.go(self.path, name, done="Nothing was changed.")
            await verbs.change(name, document, by=visit.actor, version=visit.form["_version"], **password)
        except Outdated as error:
            return await self._conflict(visit, before, values, error)
        except (BadRecord, Denied, InvalidArgument) as error:
            return await self._again(visit, record, values, before, error)
        await self._after(visit)
        labels = sorted({self.form.label(one) for one in names} | set(password))
        what = ", ".join(labels) if len(labels) <= 4 else f"{len(labels)} fields"
        return visit.go(self.path, name, done=f"{self.label(record)} is saved: {what}.")

    def _password(self, visit: Visit) -> dict[str, str]:
        given = visit.form["password"] if self.form.with_password else ""
        return {"password": given} if given else {}

    async def _conflict(self, visit: Visit, before: Values, values: Values, error: Outdated) -> Response:
        """The form again, with what was typed and what somebody else has saved meanwhile."""
        record = await self.verbs(visit).get(visit.name())
        stored = self.form.values_of(encoded(record))
        mine, both = merged(before, values, stored)
        conflict = {
            "fields": [self.form.label(name) for name in error.fields],
            "both": [
                {
                    "label": self.form.label(name),
                    "theirs": "; ".join(stored.get(name, ["see the table"])),
                    "mine": "; ".join(mine.get(name, ["see the table"])),
                }
                for name in sorted(both)
            ],
        }
        return await self._form(visit, record, mine, before=stored, conflict=conflict, status=409)

    async def _again(
        self, visit: Visit, record: Any | None, values: Values, before: Values, error: TidegateError
    ) -> Response:
        """The form again, with the mistake at its field."""
        name, text, status = "", error.text, 403
        match error:
            case BadRecord():
                name, status = self.form.field_of(error.field, values), 400
                text = error.what if name else error.text
            case AlreadyExists():
                name, status = self.form.key, 409
            case InvalidArgument():
                status = 400
        return await self._form(
            visit, record, values, before=before, errors={name: sentence(text)}, status=status
        )

    # -- deleting --------------------------------------------------------------------------------------------

    async def confirm_delete(self, visit: Visit, error: str = "") -> Response:
        """The question before a record is deleted; it says who uses it."""
        record = await self.verbs(visit).get(visit.name())
        context = {
            "kind": self,
            "name": self._name(record),
            "label": self.label(record),
            "version": version_of(record),
            "error": error,
            "used_by": (),
            **await self.more(visit, record),
        }
        return visit.html("record_delete.html", context, status=400 if error else 200)

    async def delete(self, visit: Visit) -> Response:
        """Delete a record."""
        try:
            version = visit.form["_version"]
            removed = await self.verbs(visit).remove(visit.name(), by=visit.actor, version=version)
        except (BadRecord, InvalidArgument, Denied) as error:
            return await self.confirm_delete(visit, sentence(error.text))
        except Outdated:
            text = f"Somebody else has changed this {self.noun} meanwhile. Nothing is deleted."
            return await self.confirm_delete(visit, text)
        await self._after(visit)
        return visit.go(self.path, done=f"{self.label(removed)} is deleted.")


def read_before(visit: Visit) -> Values:
    """The form as it was shown.

    Raises:
        BadRecord: the field that holds it was changed.
    """
    text = visit.form["_before"]
    try:
        found = json.loads(text) if len(text) <= MAX_BEFORE else None
        assert isinstance(found, dict)
        return {str(name): [str(one) for one in value] for name, value in found.items()}
    except (ValueError, TypeError, AssertionError, RecursionError):
        raise BadRecord("_before", "the form was not sent as it was shown; load the page again") from None


def sentence(text: str) -> str:
    """A text with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _about(record: Any) -> str:
    return "\n".join(str(getattr(record, key, "")) for key in ("description", "email", "admin", "user"))
