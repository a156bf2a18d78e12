# SPDX-License-Identifier: Apache-2.0
"""Conversations of ``keyboard-interactive``: a hook asks, in any number of rounds, and says how it ends.

A program writes a line of JSON for each round and reads a line for each answer; a URL is called for each
round. One connection has one conversation at a time; it ends with the login, with the connection, or when its
time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tidegate.abc import Challenge, LoginAttempt, NextStep, Prompt
from tidegate.errors import LoginRefused, OutsideBusy, OutsideFailed
from tidegate.hooks.asking import Asker, Question, compact, read_object
from tidegate.hooks.records import Passwords
from tidegate.hooks.settings import Hook
from tidegate.identity.accounts import Accepted
from tidegate.identity.stages import MAX_PROMPTS
from tidegate.model import Account, Peer
from tidegate.outgoing.process import Process

METHOD: Final = "keyboard-interactive"
MAX_LINE: Final = 64 * 1024
"""Bytes of a line that a program writes."""
MAX_ROUNDS: Final = 100
"""Rounds of one conversation."""
MAX_CONVERSATIONS: Final = 10_000
"""Connections with a conversation; the oldest makes room."""
PASSWORD, CODE = 1, 2
"""Values of ``check_password``."""
VERIFIED: Final = "OK"
"""The program reads this in place of an answer that was checked for it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Round:
    """One answer of the hook.

    Attributes:
        challenge: the questions; None once there is a result.
        check: 0, `PASSWORD` or `CODE`: the answer is checked here.
        accepted: the result.
    """

    challenge: Challenge | None = None
    check: int = 0
    accepted: bool = False


class Side(Protocol):
    """The hook's side of a conversation."""

    async def next(self, questions: tuple[str, ...], answers: tuple[str, ...]) -> dict[str, Any]:
        """Give the answers to the last questions, none at first, and read the next document.

        Raises:
            OutsideFailed: there is none.
        """
        ...

    async def end(self) -> None:
        """Free everything."""
        ...


@dataclass(slots=True, eq=False)
class Conversation:
    """One conversation.

    Attributes:
        account: whose login it is about; None talks to nobody.
        deadline: seconds of the monotonic clock.
        coded: a one-time code was right.
    """

    username: str
    account: Account | None
    side: Side | None
    deadline: float
    current: Round = field(default_factory=Round)
    rounds: int = 0
    coded: bool = False


class Questions:
    """The conversations of a server.

    Args:
        hook: asks.
        asker: runs or calls it.
        passwords: checks passwords where the hook wants that.
        code: returns if a one-time code is right, else raises `LoginRefused`.
    """

    def __init__(
        self,
        hook: Hook,
        asker: Asker,
        passwords: Passwords,
        code: Callable[[Account, str], Awaitable[None]],
    ) -> None:
        self._hook = hook
        self._asker = asker
        self._passwords = passwords
        self._code = code
        self._open: OrderedDict[str, Conversation] = OrderedDict()
        self._asked_first: tuple[str, Challenge | None] = "", None
        self._common: Challenge | None = None

    async def begin(self, peer: Peer, username: str, account: Account | None) -> Challenge | None:
        """The first questions for a login.

        A user who is not known is asked what two different users were asked alike, and is refused whatever
        the answers are; the hook is not asked about them. What one alone was asked may be about them.

        Raises:
            LoginRefused: the hook refuses or fails.
        """
        await self.forget(peer.connection_id)
        deadline = time.monotonic() + self._hook.seconds
        talk = Conversation(username, account, None, deadline)
        self._open[peer.connection_id] = talk
        if len(self._open) > MAX_CONVERSATIONS:
            await self.forget(next(iter(self._open)))
        if account is None:
            return self._common
        if self._hook.is_http:
            talk.side = HttpSide(self._hook, self._asker, account, peer)
        else:
            question = Question(
                {
                    "AUTHD_USERNAME": account.username,
                    "AUTHD_IP": peer.remote_ip,
                    "AUTHD_PASSWORD": account.password,
                },
                source=peer.remote_ip,
            )
            talk.side = ProgramSide(self._hook, self._asker, question)
        await self._advance(peer, talk, (), ())
        if talk.current.accepted:
            return Challenge(())
        before, self._asked_first = self._asked_first, (account.username, talk.current.challenge)
        if before[0] != account.username and before[1] == talk.current.challenge:
            self._common = before[1]
        return talk.current.challenge

    async def answer(self, attempt: LoginAttempt) -> Accepted | NextStep:
        """Give the answers to the hook.

        Raises:
            LoginRefused: an answer is wrong, or the hook refuses or fails.
        """
        peer, username, answers = attempt.peer, attempt.username, attempt.credential.answers
        talk = self._open.get(peer.connection_id)
        if talk is None or talk.username != username:
            raise LoginRefused("method", username=username)
        try:
            if talk.account is None:
                secret = answers[0] if answers else ""
                await self._passwords.fits(peer.remote_ip, username, "", secret)
                raise LoginRefused("unknown_user", username=username)
            if not talk.current.accepted:
                challenge = talk.current.challenge
                assert challenge is not None
                if len(answers) != len(challenge.prompts) or not all(map(_is_line, answers)):
                    raise LoginRefused("bad_credential", username=username)
                if talk.current.check:
                    await self._check(peer, talk, talk.account, answers[0])
                    answers = (VERIFIED,)
                await self._advance(peer, talk, tuple(one.text for one in challenge.prompts), answers)
        except BaseException:
            await self.forget(peer.connection_id)
            raise
        if talk.current.accepted:
            await self.forget(peer.connection_id)
            return Accepted(talk.account, stored=talk.account.id != 0, hashed=False, coded=talk.coded)
        return NextStep((METHOD,), talk.current.challenge)

    async def _check(self, peer: Peer, talk: Conversation, account: Account, answer: str) -> None:
        if talk.current.check == PASSWORD:
            right = await self._passwords.fits(peer.remote_ip, account.username, account.password, answer)
            if not right:
                raise LoginRefused("bad_credential", username=account.username)
        else:
            await self._code(account, answer)
            talk.coded = True

    async def _advance(
        self, peer: Peer, talk: Conversation, questions: tuple[str, ...], answers: tuple[str, ...]
    ) -> None:
        """Give answers, and read the next round.

        Raises:
            LoginRefused: the hook refuses or fails.
        """
        assert talk.side is not None
        try:
            talk.rounds += 1
            if talk.rounds > MAX_ROUNDS:
                raise OutsideFailed(detail=f"{self._hook.shown} asks more than {MAX_ROUNDS} times")
            async with asyncio.timeout(max(0.0, talk.deadline - time.monotonic())):
                document = await talk.side.next(questions, answers)
            talk.current = _round(self._hook, document)
        except (TimeoutError, OutsideFailed) as error:
            await self.forget(peer.connection_id)
            busy = isinstance(error, OutsideBusy)
            what = error.detail if isinstance(error, OutsideFailed) else "it took too long"
            _log.error("login of user %r refused, %s failed: %s", talk.username, self._hook.key, what)
            reason = "busy" if busy else "hook_failed"
            raise LoginRefused(reason, rule=self._hook.key, username=talk.username) from None
        except BaseException:
            await self.forget(peer.connection_id)
            raise
        if talk.current.challenge is None and not talk.current.accepted:
            await self.forget(peer.connection_id)
            raise LoginRefused("hook", rule=self._hook.key, username=talk.username)

    async def forget(self, connection_id: str) -> None:
        """End the conversation of a connection, if there is one."""
        talk = self._open.pop(connection_id, None)
        if talk is not None and talk.side is not None:
            await talk.side.end()

    async def close(self) -> None:
        """End all conversations."""
        while self._open:
            await self.forget(next(iter(self._open)))


class HttpSide:
    """A URL that is called for each round."""

    def __init__(self, hook: Hook, asker: Asker, account: Account, peer: Peer) -> None:
        self._hook = hook
        self._asker = asker
        self._account = account
        self._peer = peer
        self._request = secrets.token_hex(10)
        self._step = 0

    async def next(self, questions: tuple[str, ...], answers: tuple[str, ...]) -> dict[str, Any]:
        """See `Side`."""
        self._step += 1
        document: dict[str, Any] = {
            "request_id": self._request,
            "step": self._step,
            "username": self._account.username,
        }
        if self._step == 1:
            document["ip"] = self._peer.remote_ip
        document["password"] = self._account.password
        if self._step > 1:
            document |= {"answers": list(answers), "questions": list(questions)}
        question = Question(body=compact(document).encode(), source=self._peer.remote_ip)
        reply = await self._asker.ask(self._hook, question)
        if not reply.ok:
            raise OutsideFailed(detail=reply.problem)
        return read_object(self._hook, reply.body)

    async def end(self) -> None:
        """Nothing is kept."""


class ProgramSide:
    """A program that writes lines of JSON and reads answers; a task of its own owns it."""

    def __init__(self, hook: Hook, asker: Asker, question: Question) -> None:
        self._hook = hook
        self._call = asker.program_call(hook, question)
        self._programs = asker.programs
        self._started: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self._leave = asyncio.Event()
        self._ended: OutsideFailed | None = None
        self._task = asyncio.create_task(self._run(), name="keyboard-interactive hook")

    async def _run(self) -> None:
        try:
            async with self._programs.talk(self._call) as process:
                process.stderr.bound = MAX_LINE  # what it says there is not read; at the bound it has to wait
                self._started.set_result(process)
                await self._leave.wait()
        except OutsideFailed as error:
            self._ended = error
            if not self._started.done():
                self._started.set_exception(error)
        finally:
            if not self._started.done():
                self._started.cancel()

    async def next(self, questions: tuple[str, ...], answers: tuple[str, ...]) -> dict[str, Any]:
        """See `Side`."""
        del questions
        process = await asyncio.shield(self._started)
        if answers:
            process.stdin.write("".join(f"{one}\n" for one in answers).encode("utf-8", "surrogateescape"))
        return read_object(self._hook, await self._line(process))

    async def _line(self, process: Process) -> bytes:
        while True:
            process.changed.clear()
            line, newline, rest = process.stdout.kept.partition(b"\n")
            if len(line) > MAX_LINE:
                raise OutsideFailed(detail=f"{self._hook.target} wrote more than {MAX_LINE} bytes in a line")
            if newline:
                process.stdout.kept = rest
                process.stdout.resume()
                if line.strip():
                    return bytes(line)
                continue
            if process.stdout.at_end:
                if line.strip():
                    return bytes(line)
                if self._ended is not None:
                    raise self._ended
                raise OutsideFailed(detail=f"{self._hook.target} ended without a result")
            await process.changed.wait()

    async def end(self) -> None:
        """Kill it and what it has started."""
        self._leave.set()
        if not self._started.done():
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([self._task])
        if self._started.done() and not self._started.cancelled():
            self._started.exception()


def _is_line(text: str) -> bool:
    """True if an answer is one line for a program: otherwise it could pass for several."""
    return not any(sign in text for sign in "\n\r\0")


def _round(hook: Hook, document: dict[str, Any]) -> Round:
    """A round of what a hook answered.

    Raises:
        OutsideFailed: it asks nothing and has no result, or what it says makes no sense.
    """
    result = document.get("auth_result", 0)
    if result:
        return Round(accepted=result == 1 and type(result) is int)
    questions, echos = document.get("questions") or [], document.get("echos") or []
    instruction, check = document.get("instruction") or "", document.get("check_password") or 0
    problem = ""
    if not isinstance(questions, list) or not all(isinstance(one, str) for one in questions):
        problem = "questions that are not a list of texts"
    elif not isinstance(echos, list) or not all(isinstance(one, bool) for one in echos):
        problem = "echos that are not a list of true and false"
    elif not isinstance(instruction, str):
        problem = "an instruction that is no text"
    elif not questions:
        problem = "no questions and no result"
    elif len(questions) != len(echos):
        problem = f"{len(questions)} questions and {len(echos)} echos"
    elif len(questions) > MAX_PROMPTS:
        problem = f"more than {MAX_PROMPTS} questions at once"
    elif check not in (0, PASSWORD, CODE) or isinstance(check, bool):
        problem = f"check_password {str(check)[:40]}"
    elif check and len(questions) != 1:
        problem = f"check_password with {len(questions)} questions"
    if problem:
        raise OutsideFailed(detail=f"{hook.shown} answered {problem}")
    prompts = tuple(Prompt(text, echo) for text, echo in zip(questions, echos, strict=True))
    return Round(Challenge(prompts, instructions=instruction), check)
