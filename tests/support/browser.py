# SPDX-License-Identifier: Apache-2.0
"""A client of the pages that keeps cookies and posts forms as a browser does, without one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx2
from tests.support.web_world import ADMIN, PASSWORD, WebWorld

BASE = "/web/admin"
VOID = {"area", "br", "hr", "img", "input", "link", "meta", "wbr", "rect", "line", "path", "use"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            while any(one.tag == tag for one in self.open) and self.open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


@dataclass
class Shown:
    """An answer."""

    answer: httpx2.Response
    elements: list[Element] = field(default_factory=list)

    @property
    def status(self) -> int:
        return self.answer.status_code

    @property
    def location(self) -> str:
        return self.answer.headers.get("location", "")

    @property
    def text(self) -> str:
        return " ".join(self.first("body").text.split())

    def all(self, tag: str, **attributes: str) -> list[Element]:
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            one
            for one in self.elements
            if one.tag == tag and all(one.attributes.get(name) == value for name, value in wanted.items())
        ]

    def first(self, tag: str, **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        assert found, (tag, attributes, self.answer.text[:2000])
        return found[0]

    def value(self, name: str) -> str:
        return self.first("input", name=name).attributes.get("value", "")

    @property
    def token(self) -> str:
        return self.value("_token")


class Browser:
    """Cookies, headers of a browser and forms. Redirects are not followed, unless `open` or `send` does."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self.token = ""

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Shown:
        return self._shown(
            await self.client.get(_full(path), headers={"Sec-Fetch-Site": "none", **(headers or {})})
        )

    async def open(self, path: str) -> Shown:
        """A page, redirects followed."""
        shown = await self.get(path)
        for _ in range(5):
            if not shown.location:
                return shown
            shown = await self.get(shown.location)
        raise AssertionError(f"{path} leads in a circle")

    async def post(self, path: str, headers: Mapping[str, str] | None = None, /, **fields: Any) -> Shown:
        """A form as a page of the site sends it; the token of the page that was seen last is added."""
        values = {"_token": self.token, **fields}
        sent = {"Sec-Fetch-Site": "same-origin", **(headers or {})}
        return self._shown(await self.client.post(_full(path), data=values, headers=sent))

    async def sign_in(self, name: str = ADMIN, password: str = PASSWORD) -> Shown:
        shown = await self.post("/login", name=name, password=password)
        if shown.status == 303:
            await self.get("/me")
        return shown

    def _shown(self, answer: httpx2.Response) -> Shown:
        reader = _Reader()
        if "html" in answer.headers.get("content-type", ""):
            reader.feed(answer.text)
        shown = Shown(answer, reader.elements)
        if found := shown.all("input", name="_token"):
            self.token = found[0].attributes["value"]
        return shown


def _full(path: str) -> str:
    return (
        path
        if re.match(r"/(web|api|docs|healthz)|/$", path) and path.startswith(("/web", "/api", "/docs"))
        else (BASE + path)
    )


def browser(world: WebWorld, **more: Any) -> Browser:
    """A browser that has never been here; its client has to be closed."""
    return Browser(world.anonymous(**more))


def fields_of(page: Shown) -> dict[str, Any]:
    """The fields that a browser sends of the untouched form for a record."""
    sent: dict[str, list[str]] = {}
    inside_form = False
    for one in page.elements:
        if one.tag == "form":
            inside_form = "data-save" in one.attributes
        if not inside_form or "name" not in one.attributes or one.tag == "button":
            continue
        name, value = one.attributes["name"], one.attributes.get("value", "on")
        if one.tag == "select":
            sent.setdefault(name, []).append("")  # filled by its selected option below
        elif one.tag == "textarea":
            sent.setdefault(name, []).append(one.text)
        elif one.attributes.get("type") in ("checkbox", "radio"):
            if "checked" in one.attributes:
                sent.setdefault(name, []).append(value)
        else:
            sent.setdefault(name, []).append(one.attributes.get("value", ""))
    select = ""
    for one in page.elements:
        if one.tag == "select":
            select = one.attributes.get("name", "")
        elif one.tag == "option" and "selected" in one.attributes and select in sent:
            sent[select] = [one.attributes.get("value", one.text)]
    return sent
