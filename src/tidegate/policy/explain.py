# SPDX-License-Identifier: Apache-2.0
"""Explain: would the server do this, and if not, which rule says so, where, why, and what would change it?

The rules are the server's own, asked in its order: login, sessions, gate, amounts. The first refusal
decides; rules after it are asked all the same, so that who repairs one sees the next. Nothing here holds
a password, a hash or a key, and every text is made safe for a terminal and for JSON.

Long, because asking, deciding and telling use the same rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final, Literal

from tidegate.errors import AlreadyExists, InvalidArgument, LoginRefused, NotFound
from tidegate.model import (
    Account,
    FilePatterns,
    Intent,
    Principal,
    ProgramDirectory,
    ProgramUse,
    Protocol,
    VPath,
)
from tidegate.model.geography import NO_LOCATION, Location
from tidegate.policy.amounts import Amount, Usage, amount_steps, client_text, original_steps, session_step
from tidegate.policy.decision import ALLOWED, Decision, Step
from tidegate.policy.folders import Refusal, border_step, check_rename, folders_of
from tidegate.policy.gate import Gate
from tidegate.policy.hours import local_time
from tidegate.policy.login import check_login
from tidegate.policy.methods import family_of
from tidegate.policy.programs import WORDS as PROGRAM_WORDS
from tidegate.policy.programs import ProgramRules, enabled_step, refusal_of
from tidegate.policy.renames import onto_step
from tidegate.policy.requirements import REQUIREMENTS
from tidegate.policy.second_factor import judged_method

__all__ = ["Explanation", "Row", "Usage", "explain", "parse_operation", "parse_program"]

Section = Literal["login", "sessions", "gate", "amounts"]

_TITLES: Final[dict[Section, str]] = {
    "login": "may the account come in?",
    "sessions": "is there room for one more session?",
    "gate": "may it do this here?",
    "amounts": "do limits and counters allow it?",
}

_KINDS: Final[dict[str, tuple[Intent, Intent]]] = {
    "delete": (Intent.DELETE_FILE, Intent.DELETE_DIR),
    "remove": (Intent.DELETE_FILE, Intent.DELETE_DIR),
    "rm": (Intent.DELETE_FILE, Intent.DELETE_DIR),
    "rename": (Intent.RENAME_FILE, Intent.RENAME_DIR),
    "mv": (Intent.RENAME_FILE, Intent.RENAME_DIR),
    "posix-rename": (Intent.RENAME_FILE, Intent.RENAME_DIR),
}
"""Words whose intent depends on the kind of the path: (file, directory)."""

_REPLACING: Final = "posix-rename"
"""The word for a rename that replaces whatever is set."""

_WORDS: Final[dict[str, Intent]] = {
    **{intent.value: intent for intent in Intent},
    "ls": Intent.LIST,
    "readdir": Intent.LIST,
    "lstat": Intent.STAT,
    "get": Intent.DOWNLOAD,
    "read": Intent.DOWNLOAD,
    "put": Intent.UPLOAD,
    "write": Intent.UPLOAD,
    "append": Intent.OVERWRITE,
    "truncate": Intent.OVERWRITE,
    "unlink": Intent.DELETE_FILE,
    "delete_files": Intent.DELETE_FILE,
    "delete_dirs": Intent.DELETE_DIR,
    "rename_files": Intent.RENAME_FILE,
    "rename_dirs": Intent.RENAME_DIR,
    "rmdir": Intent.DELETE_DIR,
    "create_dirs": Intent.MKDIR,
    "create_symlinks": Intent.SYMLINK,
    "link": Intent.HARDLINK,
    "touch": Intent.CHTIMES,
    "cp": Intent.COPY,
    "hash": Intent.CHECKSUM,
    "df": Intent.SPACE,
    "statvfs": Intent.SPACE,
}


def parse_operation(text: str, *, is_dir: bool = False) -> Intent:
    """The intent that an operator's word means.

    Args:
        text: an intent, a permission name, or what a client calls it (``ls``, ``get``, ``put``, ``rm``...).
        is_dir: True if it is about a directory, for words that leave it open (``delete``, ``rename``).

    Raises:
        InvalidArgument: no such operation; the text lists what there is.
    """
    word = text.strip().lower()
    if word in _KINDS:
        return _KINDS[word][is_dir]
    if word in _WORDS:
        return _WORDS[word]
    known = ", ".join(sorted({*_KINDS, *(intent.value for intent in Intent)}))
    raise InvalidArgument(f"operation {safe(text[:40])!r}: not one of {known}, {', '.join(ProgramUse)}")


def parse_program(text: str) -> ProgramUse | None:
    """The use of a system program that an operator's word means (``git_push``, ``rsync``...), if any."""
    return PROGRAM_WORDS.get(text.strip().lower())


@dataclass(frozen=True, slots=True)
class Row:
    """One rule that was asked.

    Attributes:
        section: which part of the way it belongs to.
        step: the rule, its verdict and its reason.
        state: ``asked``, ``decided`` (the first refusal) or ``later`` (the server would not have got there).
    """

    section: Section
    step: Step
    state: Literal["asked", "decided", "later"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The whole answer.

    Attributes:
        username: whose account was asked.
        protocol, ip, method, now_ms: how and when the client came.
        intent: what is wanted, after taking into account whether the file exists; of a program what it moves.
        use: what is wanted of a system program, None for everything else.
        path: of what.
        target: second path, or None.
        rows: every rule in order.
        decision: the server's answer; `Decision.text` is what the client would be told.
    """

    username: str
    protocol: str
    ip: str
    method: str
    now_ms: int
    intent: Intent
    path: VPath
    target: VPath | None
    rows: tuple[Row, ...]
    decision: Decision
    use: ProgramUse | None = None

    @property
    def operation(self) -> str:
        """The word for what is wanted."""
        return (self.use or self.intent).value

    @property
    def steps(self) -> list[Step]:
        """The rules the server asks, in order; a refusal is the last one."""
        return [row.step for row in self.rows if row.state != "later"]

    @property
    def decided_by(self) -> Step | None:
        """The rule that refused, None if nothing did."""
        return next((row.step for row in self.rows if row.state == "decided"), None)

    @property
    def also(self) -> list[Step]:
        """Refusals that would follow once the first one is repaired."""
        return [row.step for row in self.rows if row.state == "later" and row.step.verdict == "deny"]

    def to_document(self) -> dict[str, object]:
        """A JSON-ready document (REST, ``--json``); texts are printable and valid UTF-8."""
        decided = self.decided_by
        moment = local_time(self.now_ms)
        return {
            "username": safe(self.username),
            "protocol": safe(self.protocol),
            "ip": safe(self.ip),
            "method": safe(self.method),
            "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else str(self.now_ms),
            "operation": self.operation,
            "path": safe(self.path),
            "target": None if self.target is None else safe(self.target),
            "allowed": self.decision.allowed,
            "hidden": self.decision.hidden,
            "client_text": safe(self.decision.text),
            "decided_by": None if decided is None else _step_document(decided),
            "steps": [
                {"section": row.section, "state": row.state, **_step_document(row.step)} for row in self.rows
            ],
            "also": [_step_document(step) for step in self.also],
        }

    def render_text(self) -> str:
        """Lines for a terminal: the answer first, then every rule in order."""
        decided = self.decided_by
        what = f"{self.operation} {safe(self.path)}" + (f" -> {safe(self.target)}" if self.target else "")
        how = f"{safe(self.username)} from {safe(self.ip)} by {safe(self.protocol)}"
        lines = [f"{'ALLOWED' if decided is None else 'DENIED'}  {what}", f"  who     {how}"]
        if self.method:
            lines[-1] += f", {safe(self.method)}"
        if decided is not None:
            lines += [
                f"  rule    {safe(decided.rule)}",
                f"  where   {safe(decided.where) or '(not configurable)'}",
                f"  why     {safe(decided.why)}",
                f"  change  {safe(decided.hint) or '(nothing would help)'}",
                f"  client  {safe(self.decision.text)}",
            ]
        width = max((len(safe(row.step.rule)) for row in self.rows), default=0)
        section: str = ""
        for row in self.rows:
            if row.section != section:
                section = row.section
                lines += ["", f"  {_TITLES[row.section]}"]
            lines.append(f"  {_mark(row)} {safe(row.step.rule):<{width}}  {safe(row.step.why)}")
        if self.also:
            lines += ["", "  once that is repaired, these would refuse next:"]
            lines += [f"    {safe(s.rule)} ({safe(s.where)}): {safe(s.hint or s.why)}" for s in self.also]
        return "\n".join(lines) + "\n"


def explain(
    account: Account,
    *,
    ip: str,
    protocol: Protocol | str,
    op: str | Intent,
    path: VPath | str,
    now_ms: int,
    target: VPath | str | None = None,
    method: str | None = None,
    is_dir: bool | None = None,
    exists: bool | None = None,
    target_exists: bool = False,
    size: int | None = None,
    replaced: int | None = None,
    usage: Usage | None = None,
    rename_onto: str = "",
    tz: tzinfo = UTC,
    proofs: Sequence[Step] = (),
    commands: Collection[str] = ("*",),
    encrypted: bool = True,
    location: Location = NO_LOCATION,
    locks: Sequence[tuple[Step, str]] = (),
    names: FilePatterns | None = None,
) -> Explanation:
    """Ask every rule about one act.

    Args:
        account: whose.
        ip: where the client is.
        protocol: by which door it comes.
        op: what it wants; words as of `parse_operation` and `parse_program`.
        path: of what. A trailing slash says that it is a directory, if `is_dir` is None.
        now_ms: Unix milliseconds.
        target: second path of renames, copies and links.
        method: login method; None leaves out the rules about methods.
        is_dir: True if `path` is a directory.
        exists: True if `path` exists, where uploading is wanted; None takes `op` by its word.
        target_exists: True if `target` exists.
        size: bytes of the file, if known.
        replaced: bytes of the file that an upload or a copy replaces; given, it says that there is one.
        usage: live counters; None takes those stored with the account.
        rename_onto: what the server does with RENAME onto a name that exists; the account goes before it.
        tz: time zone of `access_time`.
        proofs: what was asked of the credential (a certificate), before the rules of the account.
        commands: SSH commands that are enabled.
        encrypted: nobody on the way can read what is sent.
        location: of `ip`, as databases have it.
        locks: what the locks of the running server say, each with the text that the client is told.
        names: patterns of the server itself, for names in every directory.

    Raises:
        InvalidArgument: `op` is no operation, or a path is no path.
    """
    act = _act_of(account, op, path, target, is_dir, exists, target_exists, replaced, rename_onto)
    usage = usage or Usage()
    gate = Gate(Principal(account, method or "", ip), protocol, names=names)
    judged = judged_method(account, family_of(protocol), method or "")
    rules = check_login(
        account,
        protocol=protocol,
        method=judged,
        ip=ip,
        now_ms=now_ms,
        tz=tz,
        encrypted=encrypted,
        location=location,
        stop=False,
    )
    steps: list[tuple[Section, Step]] = [("login", step) for step in (*proofs, *rules)]
    if (session := session_step(account, usage)) is not None:
        steps.append(("sessions", session))
    moved = act.moved(account)
    if act.use is not None:
        steps.append(("gate", enabled_step(act.use, commands)))
    steps += [("gate", step) for step in act.gate_steps(gate, moved)]
    steps += [("gate", step) for step, _ in locks]
    amount = act.amount(size, replaced)
    of_original = list(original_steps(account, ip, amount, usage))
    steps += [("amounts", step) for step in (*amount_steps(account, ip, amount, usage), *of_original)]
    rows, decided = _rows(steps)
    return Explanation(
        username=account.username,
        protocol=str(protocol),
        ip=ip,
        method=method or "",
        now_ms=now_ms,
        intent=act.intent,
        path=act.path,
        target=act.target if REQUIREMENTS[act.intent].target is not None else None,
        rows=rows,
        decision=_decision(decided, act, gate, moved, of_original, dict(locks)),
        use=act.use,
    )


@dataclass(frozen=True, slots=True)
class _Act:
    """The act that is asked about, with everything that its words leave open settled.

    Attributes:
        onto: the step of a rename onto a name that exists, None for everything else.
    """

    intent: Intent
    path: VPath
    target: VPath | None
    is_dir: bool
    target_exists: bool
    onto: Step | None
    use: ProgramUse | None = None

    def moved(self, account: Account) -> Refusal | None:
        """The reason why a rename between folders is refused."""
        if self.target is None or self.intent not in (Intent.RENAME_FILE, Intent.RENAME_DIR):
            return None
        is_dir = self.is_dir or self.intent is Intent.RENAME_DIR
        return check_rename(folders_of(account), self.path, self.target, is_dir=is_dir)

    def border(self, account: Account) -> Step | None:
        """The step of a rename that is streamed from one storage to another; None for everything else."""
        if self.target is None or self.intent not in (Intent.RENAME_FILE, Intent.RENAME_DIR):
            return None
        return border_step(folders_of(account), self.path, self.target)

    def gate_steps(self, gate: Gate, moved: Refusal | None) -> list[Step]:
        """Every rule on paths, in order."""
        if self.use is not None:
            steps = gate.trace(Intent.STAT, self.path, is_dir=True)
            wanted = ProgramDirectory(self.path, self.use.writes)
            return [*steps, *ProgramRules(gate.principal.account, gate.names).trace(wanted, self.use)]
        steps = list(
            gate.trace(
                self.intent,
                self.path,
                target=self.target,
                is_dir=self.is_dir,
                target_exists=self.target_exists,
            )
        )
        if moved is not None:
            steps.append(moved.step)
        elif (border := self.border(gate.principal.account)) is not None:
            steps.append(border)
        if self.onto is not None:
            steps.append(self.onto)
        return steps

    def amount(self, size: int | None, replaced: int | None) -> Amount:
        """The bytes and files that it is about."""
        copies = self.intent is Intent.COPY
        written = self.target if copies and self.target is not None else self.path
        new_file = self.intent is Intent.UPLOAD or (copies and not self.target_exists)
        return Amount(self.intent, written, size, new_file, 0 if new_file else replaced or 0)


def _act_of(  # noqa: PLR0917  the arguments of `explain`, in their order
    account: Account,
    op: str | Intent,
    path: VPath | str,
    target: VPath | str | None,
    is_dir: bool | None,
    exists: bool | None,
    target_exists: bool,
    replaced: int | None,
    rename_onto: str,
) -> _Act:
    if is_dir is None:
        is_dir = len(path) > 1 and path.endswith("/")
    subject = path if isinstance(path, VPath) else VPath.parse(path)
    second = target if target is None or isinstance(target, VPath) else VPath.parse(target)
    use = None if isinstance(op, Intent) else parse_program(op)
    if use is not None:
        return _Act(Intent.UPLOAD if use.writes else Intent.DOWNLOAD, subject, None, True, False, None, use)
    intent = op if isinstance(op, Intent) else parse_operation(op, is_dir=is_dir)
    if replaced is not None:
        exists, target_exists = True, intent is Intent.COPY or target_exists
    if exists is not None and intent in (Intent.UPLOAD, Intent.OVERWRITE):
        intent = Intent.OVERWRITE if exists else Intent.UPLOAD
    onto = None
    if target_exists and second is not None and intent in (Intent.RENAME_FILE, Intent.RENAME_DIR):
        if not isinstance(op, str) or op.strip().lower() != _REPLACING:
            onto = onto_step(account, rename_onto)
        target_exists = subject != second and (onto is None or onto.verdict != "deny")
    return _Act(intent, subject, second, is_dir, target_exists, onto)


def _rows(steps: Sequence[tuple[Section, Step]]) -> tuple[tuple[Row, ...], Row | None]:
    """The steps as rows, and the one that decides."""
    rows: list[Row] = []
    decided: Row | None = None
    for section, step in steps:
        if decided is None and step.verdict == "deny":
            decided = Row(section, step, "decided")
            rows.append(decided)
        else:
            rows.append(Row(section, step, "asked" if decided is None else "later"))
    return tuple(rows), decided


def _decision(  # noqa: PLR0917
    decided: Row | None,
    act: _Act,
    gate: Gate,
    moved: Refusal | None,
    of_original: Sequence[Step],
    locks: Mapping[Step, str],
) -> Decision:
    """The decision with the text that the client is told."""
    if decided is None:
        return ALLOWED
    rule = decided.step.rule
    if moved is not None and decided.step is moved.step:
        return Decision(allowed=False, rule=rule, text=moved.error.text)
    if decided.step in locks:
        return Decision(allowed=False, rule=rule, text=locks[decided.step])
    if decided.step is act.onto:
        return Decision(allowed=False, rule=rule, text=AlreadyExists.default_text)
    if decided.step.rule == "enabled_ssh_commands":
        return Decision(allowed=False, rule=rule, text="this server offers file transfer only")
    if decided.section == "gate" and act.use is not None:
        first = gate.decide(Intent.STAT, act.path, is_dir=True)
        return refusal_of(decided.step) if first.allowed else first
    if decided.section == "gate":
        decision = gate.decide(
            act.intent, act.path, target=act.target, is_dir=act.is_dir, target_exists=act.target_exists
        )
        if not decision.hidden:
            return decision
        return Decision(allowed=False, rule=decision.rule, text=NotFound.default_text, hidden=decision.hidden)
    text = LoginRefused.default_text
    if decided.section == "amounts":
        reads = any(decided.step is step for step in of_original)
        text = client_text(rule, Intent.DOWNLOAD if reads else act.intent)
    return Decision(allowed=False, rule=rule, text=text)


def safe(text: str) -> str:
    """`text` with everything escaped that could move a cursor, hide or reorder text, or not be encoded."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _mark(row: Row) -> str:
    if row.state == "decided":
        return "NO! "
    if row.state == "later":
        return "(no)" if row.step.verdict == "deny" else "(ok)"
    return "ok  "


def _step_document(step: Step) -> dict[str, str]:
    return {
        "rule": safe(step.rule),
        "verdict": step.verdict,
        "why": safe(step.why),
        "where": safe(step.where),
        "hint": safe(step.hint),
    }
