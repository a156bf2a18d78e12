# SPDX-License-Identifier: Apache-2.0
"""Reading of forms, with bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from tidegate.errors import BadRecord, TooLarge

MAX_FORM_BYTES: Final = 1024 * 1024
"""Longest body of a form."""
MAX_FIELDS: Final = 5_000
"""Fields of a form."""
FORM_SECONDS: Final = 30.0
"""Seconds that a form may take to arrive."""
TOKEN: Final = "_token"  # noqa: S105  the name of a field
"""Field with the token of `sessions.form_token`; scripts send it in the header `TOKEN_HEADER`."""
TOKEN_HEADER: Final = "x-csrf-token"  # noqa: S105


class Form(Mapping[str, str]):
    """Fields of a form. A field that was not sent is the empty text.

    Args:
        pairs: names and values as sent.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        """The first value of a field, empty if there is none."""
        return self._values.get(name, [""])[0]

    def __iter__(self) -> Iterator[str]:
        """Names that were sent."""
        return iter(self._values)

    def __len__(self) -> int:
        """The number of names."""
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        """True if a field was sent."""
        return name in self._values

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return list(self._values.get(name, ()))

    def text(self, name: str) -> str:
        """A value without blanks around it, line ends as LF."""
        return self[name].replace("\r\n", "\n").strip()

    def number(self, name: str, *, label: str = "") -> int:
        """A whole number, 0 if the field is empty.

        Raises:
            BadRecord: it is none.
        """
        text = self.text(name).replace(",", "").replace("_", "")
        if not text:
            return 0
        if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 19:
            raise BadRecord(label or name, f"{self.text(name)[:40]!r} is no whole number")
        return int(text)

    def pairs(self) -> list[tuple[str, str]]:
        """Names and values, for a form that is shown again."""
        return [(name, value) for name, values in self._values.items() for value in values]


async def read_form(request: Request) -> Form:
    """The fields of a request's body (application/x-www-form-urlencoded).

    Raises:
        BadRecord: it is not such a form, or has too many fields.
        TooLarge: it is too long.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadRecord("", "a form is expected (application/x-www-form-urlencoded)")
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_FORM_BYTES:
                    raise TooLarge(f"the form is longer than {MAX_FORM_BYTES} bytes")
    except TimeoutError:
        raise BadRecord("", "the form did not arrive in time") from None
    except ClientDisconnect:
        raise BadRecord("", "the form ended too early") from None
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise BadRecord("", f"the form is not UTF-8, or has more than {MAX_FIELDS} fields") from None
    return Form(pairs)
