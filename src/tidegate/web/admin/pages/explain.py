# SPDX-License-Identifier: Apache-2.0
"""The answer to "why?": every rule about an act of a user, or about an address, and the one that decides."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.typed_values import read_size
from tidegate.errors import InvalidArgument, InvalidPath, NotFound, TidegateError
from tidegate.logs.filters import connection_of
from tidegate.metrics.recent import Refusal
from tidegate.model import Intent
from tidegate.model.program import ProgramUse
from tidegate.policy.mistakes import DOORS, METHODS
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import exact, moment, url
from tidegate.web.admin.visit import Visit
from tidegate.web.api.explaining import PlainQuestion, explain_connect, explained

LOGIN: Final = "login"
"""The operation that stands for logging in alone."""
OPERATIONS: Final = (
    (LOGIN, "log in"),
    *((one.value, one.value.replace("_", " ")) for one in (*Intent, *ProgramUse)),
)
FIELDS: Final = ("user", "op", "path", "ip", "protocol", "target", "method", "size", "exists")
TITLES: Final = {
    "login": "May the account come in?",
    "sessions": "Is there room for one more session?",
    "gate": "May it do this here?",
    "amounts": "Do limits and counters allow it?",
}
FAMILIES: Final = {
    "SSH": "SSH", "SFTP": "SSH", "SCP": "SSH", "FTP": "FTP", "FTPS": "FTP", "DAV": "DAV", "DAVS": "DAV",
    "HTTP": "HTTP",
}  # fmt: skip
"""The door that an address comes to, by protocol."""
DOOR_NAMES: Final = (("SSH", "SSH"), ("FTP", "FTP"), ("DAV", "WebDAV"), ("HTTP", "HTTP"))


def refusal_row(visit: Visit, one: Refusal) -> dict[str, Any]:
    """A refusal for a list, with links to what explains it and to the story of its connection."""
    link = ""
    if not one.failure:  # no rule would tell anything of it
        link = why_link(visit, one.intent, user=one.username, ip=one.ip, protocol=one.protocol, path=one.path)
    told = one.connection_id and visit.services.log is not None and visit.may("view_events")
    story = url("logs", "connections", connection_of(one.connection_id)) if told else ""
    seen = visit.services.log is not None and visit.may("view_events")
    around = url("logs", around=one.at) if seen else ""
    when = {"when": moment(one.at), "exact": exact(one.at), "around": around}
    return {"one": one, **when, "why": link, "story": story}


def why_link(
    visit: Visit, intent: str, *, user: str, ip: str, protocol: str, path: str = "", method: str = ""
) -> str:
    """The page that explains a refusal; empty where the administrator may not ask.

    Args:
        visit: of the administrator.
        intent: word that `explain --op` takes; empty if a connection was refused.
        user: name of the account.
        ip: address of the client.
        protocol: of the door.
        path: that it was about.
        method: of a login.
    """
    if user and intent and visit.may("view_users"):
        return url("explain", user=user, op=intent, path=path, ip=ip, protocol=protocol, method=method)
    if not intent and ip and visit.may("view_defender"):
        return url("explain", "connect", ip=ip, protocol=FAMILIES.get(protocol, ""))
    return ""


# -- an act of a user ----------------------------------------------------------------------------------------


async def show(visit: Visit) -> Response:
    """The question, and the answer as soon as it says who and what."""
    values = {name: visit.query(name, longest=4_096).strip() for name in FIELDS}
    answer, errors = None, {}
    if values["user"] and values["op"]:
        try:
            answer = _sections(await explained(visit.services, _question(values), visit.actor), values)
        except TidegateError as error:
            errors = _errors(error)
    values |= {"path": values["path"] or "/", "ip": values["ip"] or "127.0.0.1"}
    values["protocol"] = values["protocol"].upper() or "SFTP"
    known = {value for value, _ in OPERATIONS}
    other = [(values["op"], values["op"])] if values["op"] and values["op"] not in known else []
    context = {
        "values": values,
        "errors": errors,
        "answer": answer,
        "operations": [*OPERATIONS, *other],
        "protocols": [(one.value, one.value) for one in DOORS],
        "methods": [("", "any"), *((one, one) for one in METHODS)],
        "more": any(values[name] for name in ("target", "method", "size", "exists")),
        "defence": visit.may("view_defender"),
    }
    return visit.html("explain.html", context, status=400 if errors else 200)


def _question(values: Mapping[str, str]) -> PlainQuestion:
    """The question of a form.

    Raises:
        InvalidArgument: the size is none.
    """
    size: int | None = None
    if values["size"]:
        try:
            size = read_size(values["size"])
        except ValueError as error:
            raise InvalidArgument(f"size: {error}") from None
    return PlainQuestion(
        user=values["user"],
        # Of a login the first two parts of the answer are shown alone; what is asked behind it is no matter.
        op=Intent.STAT.value if values["op"] == LOGIN else values["op"],
        path=values["path"] or "/",
        target=values["target"] or None,
        ip=values["ip"] or "127.0.0.1",
        protocol=values["protocol"] or "SFTP",
        method=values["method"] or None,
        size=size,
        exists={"yes": True, "no": False}.get(values["exists"]),
        target_exists=values["exists"] == "yes",
    )


def _sections(document: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """The answer for the page."""
    steps: list[dict[str, Any]] = document["steps"]
    if values["op"] == LOGIN:
        steps = [step for step in steps if step["section"] in ("login", "sessions")]
    decided = next((step for step in steps if step["state"] == "decided"), None)
    sections = [
        {"title": title, "steps": [step for step in steps if step["section"] == section]}
        for section, title in TITLES.items()
    ]
    passed = sum(step["state"] == "asked" for step in steps)
    later = sum(step["state"] == "later" for step in steps)
    return {
        "document": document,
        "decided": decided,
        "sections": [section for section in sections if section["steps"]],
        "counts": f"{passed} passed, {0 if decided is None else 1} shut, {later} not reached",
        "also": [] if values["op"] == LOGIN else document["also"],
        "client_text": document["client_text"] if decided is not None else "",
        "command": _command(values),
        "inherited": document.get("inherited", {}),
        "hooks": document.get("hooks", ()),
    }


def _command(values: Mapping[str, str]) -> str:
    """The same question on the command line."""
    given = {
        name: values[name] for name in ("user", "op", "path", "target", "ip", "protocol", "method", "size")
    }
    if given["op"] == LOGIN:
        given["op"] = Intent.STAT.value
    words = [part for name, value in given.items() if value for part in (f"--{name}", value)]
    if values["target"] and values["exists"] == "yes":
        words.append("--target-exists")
    return shlex.join(["tidegate", "explain", *words])


def _errors(error: TidegateError) -> dict[str, str]:
    """The mistake at the field that it is in; the key is empty where it is in none."""
    text = error.text
    if isinstance(error, NotFound):
        return {"user": "There is no account of that name; a login with it is refused for that."}
    if isinstance(error, InvalidPath):
        return {"path": text}
    name = "op" if text.startswith("operation") else text.partition(":")[0]
    return {name if name in FIELDS else "": text.removeprefix(f"{name}: ")}


# -- an address ----------------------------------------------------------------------------------------------


async def show_connect(visit: Visit) -> Response:
    """The question whether an address may connect, and the answer as soon as there is an address."""
    ip, protocol = visit.query("ip", longest=64).strip(), visit.query("protocol", longest=8).upper()
    protocol = FAMILIES.get(protocol, "SSH")
    answer, errors = None, {}
    if ip:
        try:
            answer = await explain_connect(visit.services, ip, protocol)
        except (InvalidArgument, NotFound) as error:
            errors = {"ip": error.text.removeprefix("ip: ")}
    context = {
        "ip": ip,
        "protocol": protocol,
        "protocols": DOOR_NAMES,
        "errors": errors,
        "answer": answer,
        "command": shlex.join(["tidegate", "explain", "--connect", ip, "--protocol", protocol]),
        "users": visit.may("view_users"),
    }
    return visit.html("explain_connect.html", context, status=400 if errors else 200)


PAGES: Final = (
    Page(
        path="/explain",
        show=show,
        needs="view_users",
        nav=Nav(group="Now", label="Why?", icon="door-open", order=40, key="w"),
        action="Ask why something is refused",
    ),
    Page(
        path="/explain/connect",
        show=show_connect,
        needs="view_defender",
        nav=Nav(group="Defence", label="May it connect?", icon="radar", order=30),
    ),
)
