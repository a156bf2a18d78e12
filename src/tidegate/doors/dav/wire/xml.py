# SPDX-License-Identifier: Apache-2.0
"""XML as WebDAV needs it: bounded, with namespaces, without entities (RFC 4918 section 20.6).

An element keeps what RFC 4918 section 4.3 demands of a stored property: names, prefixes, attributes and the
language in scope, so that it means the same when it is written into another document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

DAV: Final = "DAV:"
"""The namespace of WebDAV."""
XML: Final = "http://www.w3.org/XML/1998/namespace"
"""The namespace of ``xml:lang``; never declared, its prefix is always ``xml``."""

MAX_ELEMENTS: Final = 10_000
MAX_DEPTH: Final = 64
MAX_ATTRIBUTES: Final = 64
"""Of one element."""

MAX_NAME_CHARS: Final = 512 * 1024
"""Of all names of elements and attributes, each with its namespace: a namespace is declared once and stands
for many names, each of which has it again when it is written elsewhere."""

_SEPARATOR: Final = " "

Name = tuple[str, str]
"""Namespace and local name of an element or attribute; no namespace is the empty text."""


class BadXml(ValueError):
    """The document is no well-formed XML, or goes beyond a bound; the text says what is wrong."""


class ForbiddenXml(BadXml):
    """The document has a document type or an entity, which are never taken."""


@dataclass(slots=True)
class Element:
    """An element.

    Attributes:
        name: see `Name`.
        prefix: as in the document; empty if there was none.
        attributes: by name, with the prefix of each.
        content: texts and elements, in order.
    """

    name: Name
    prefix: str = ""
    attributes: dict[Name, tuple[str, str]] = field(default_factory=dict)
    content: list[str | Element] = field(default_factory=list)

    @property
    def children(self) -> Iterator[Element]:
        """The elements in it."""
        return (one for one in self.content if isinstance(one, Element))

    def child(self, local: str, namespace: str = DAV) -> Element | None:
        """The first element in it of a name; None for none."""
        return next((one for one in self.children if one.name == (namespace, local)), None)

    @property
    def text(self) -> str:
        """The text directly in it."""
        return "".join(one for one in self.content if isinstance(one, str))


class _Reader:
    """Builds the tree while expat reads."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0
        self._chars = 0

    def start(self, name: str, attributes: list[str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise BadXml(f"more than {MAX_ELEMENTS} elements")
        if len(self._open) >= MAX_DEPTH:
            raise BadXml(f"elements within each other, more than {MAX_DEPTH}")
        if len(attributes) > 2 * MAX_ATTRIBUTES:
            raise BadXml(f"more than {MAX_ATTRIBUTES} attributes of one element")
        self._chars += len(name) + sum(map(len, attributes[::2]))
        if self._chars > MAX_NAME_CHARS:
            raise BadXml(f"more than {MAX_NAME_CHARS} characters of names and namespaces")
        made, prefix = _named(name)
        element = Element(made, prefix)
        for key, value in zip(attributes[::2], attributes[1::2], strict=True):
            named, prefix = _named(key)
            element.attributes[named] = (prefix, value)
        if self._open:
            self._open[-1].content.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, name: str) -> None:
        del name
        self._open.pop()

    def text(self, data: str) -> None:
        if self._open:
            content = self._open[-1].content
            if content and isinstance(content[-1], str):
                content[-1] += data
            else:
                content.append(data)

    def reference(self, *_: object) -> int:
        raise ForbiddenXml("external entities are not taken")

    def forbidden(self, *_: object) -> None:
        raise ForbiddenXml("document types and entities are not taken")


def _named(text: str) -> tuple[Name, str]:
    parts = text.split(_SEPARATOR)
    if len(parts) == 1:
        return ("", parts[0]), ""
    return (parts[0], parts[1]), parts[2] if len(parts) > 2 else ""


def parse(data: bytes) -> Element:
    """The root of a document.

    Raises:
        ForbiddenXml: it has a document type, or an entity that is not one of the five of XML.
        BadXml: it is not well-formed, or goes beyond a bound.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.namespace_prefixes = True
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.forbidden
    parser.EntityDeclHandler = reader.forbidden
    parser.ExternalEntityRefHandler = reader.reference
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadXml(f"line {error.lineno}: {expat.errors.messages[error.code]}") from None
    except (LookupError, ValueError) as error:  # of an encoding that nobody knows
        if isinstance(error, BadXml):
            raise
        raise BadXml("unknown encoding") from None
    if reader.root is None:
        raise BadXml("no element")
    return reader.root


def write(element: Element, language: str = "") -> str:
    """An element as text that means the same wherever it is put.

    Args:
        element: to be written.
        language: ``xml:lang`` that it was under, if it has none itself.
    """
    if language and (XML, "lang") not in element.attributes:
        element = Element(element.name, element.prefix, dict(element.attributes), element.content)
        element.attributes[XML, "lang"] = ("xml", language)
    out: list[str] = []
    _write(element, {"": "", "xml": XML}, out)
    return "".join(out)


def _write(element: Element, scope: dict[str, str], out: list[str]) -> None:
    declared: dict[str, str] = {}
    tag = _qualified(element.name, element.prefix, scope, declared)
    attributes = []
    for name, (prefix, value) in element.attributes.items():
        # An attribute without a prefix has no namespace, whatever the default is.
        shown = _qualified(name, prefix or "a", scope, declared) if name[0] else name[1]
        attributes.append(f" {shown}={_attribute(value)}")
    out.append(f"<{tag}")
    out += [f" xmlns{':' if prefix else ''}{prefix}={_attribute(uri)}" for prefix, uri in declared.items()]
    out += attributes
    if not element.content:
        out.append("/>")
        return
    out.append(">")
    inner = {**scope, **declared} if declared else scope
    for one in element.content:
        if isinstance(one, str):
            out.append(text(one))
        else:
            _write(one, inner, out)
    out.append(f"</{tag}>")


def _qualified(name: Name, prefix: str, scope: dict[str, str], declared: dict[str, str]) -> str:
    uri, local = name
    if uri == XML:
        return f"xml:{local}"
    if not uri:
        prefix = ""
    number = 0
    while declared.get(prefix, uri) != uri:  # two namespaces want one prefix in one element
        number += 1
        prefix = f"n{number}"
    if scope.get(prefix) != uri or prefix in declared:
        declared[prefix] = uri
    return f"{prefix}:{local}" if prefix else local


_NONE: Final = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ud800-\\udfff\\ufffe\\uffff]")
"""Characters that no XML document may have (XML 1.0 section 2.2); names of files may."""


def text(data: str) -> str:
    """Text as content of an element; a carriage return survives the reader's conversion of line ends.

    Characters that XML has not become U+FFFD.
    """
    return escape(_NONE.sub("\ufffd", data), {"\r": "&#13;"})


def _attribute(value: str) -> str:
    return quoteattr(value, {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})
