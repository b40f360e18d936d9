"""What an agent reads first: how to work here, what there is to do, and what is known.

Every part has a budget and the whole is at most 1,500 tokens, in an empty lab and in one of ten
thousand memories and insights: what an agent is told at its start stays in its context to the end.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from arcfusion.core.database import Connection, Row
from arcfusion.issues import questions
from arcfusion.issues.errors import MemoryUnknownError
from arcfusion.issues.excerpt import cut
from arcfusion.issues.record import IssueRecord
from arcfusion.issues.states import READY
from arcfusion.issues.view import View

MAX_TOKENS = 1_500
_MANY = 1_000  # counted no further
_TOPIC_WORDS = 6


class Budget(NamedTuple):
    """At most so many lines of so many bytes (of JSON) each."""

    lines: int
    line_bytes: int


HELD = Budget(4, 110)
NEXT = Budget(5, 100)
ASKED = Budget(3, 150)
REMEMBERED = Budget(6, 200)
FOUND = Budget(5, 190)
DISPUTED = Budget(4, 150)

# `issue claim --json` says the rest: whatever is here is read at every start.
HOW = """\
Claim one issue, work on it, close it or give it back. Each write of yours needs the claim's fence.

- `arcfusion issue claim --json`: id, fence, last_handoff, history. Exit 3: nothing is ready.
- `arcfusion issue heartbeat ID --fence N`: every {heartbeat_s:g} s; the lease ends after \
{lease_s:g} s without.
- `arcfusion issue checkpoint ID --fence N --tried A --result B --next C`: is kept if you die.
- `arcfusion issue close ID --fence N --outcome done --evidence run:ID`: or negative, with \
evidence; inconclusive, failed, duplicate or wontdo with --reason.
- `arcfusion issue release ID --fence N --tried A --result B --next C`: give it back.
- `arcfusion issue ask ID --fence N --question Q --tried A --result B --next C`: when something is \
unclear, ask a person; do not guess.
- `arcfusion issue recall WORDS`, `arcfusion issue remember TEXT [--supersedes KEY]`.

Exit codes: 0 done, 2 bad input, 3 nothing there, 4 busy: run the same command again, 5 refused, \
13 the claim is not yours: stop that work, write nothing, claim another issue.
"""


def build_prime(view: View, actor: str) -> str:
    """Return the text for the actor, from the lab as it is at one moment."""
    config = view.config
    with view.snapshot() as connection:
        ready = view.ready(NEXT.lines)
        held = _held(connection, actor)
        topics = [title for _, title in held] or [issue.title for issue in ready]
        parts = [
            f"# ArcFusion, for {cut(_one_line(actor), 60)}\n",
            HOW.format(lease_s=config.lease_s, heartbeat_s=config.heartbeat_s),
            _section("Held by you", [line for line, _ in held], HELD),
            _section(f"Ready: {_ready_count(connection, view.now())}", _next_lines(ready), NEXT),
            _section(*_asked(connection), ASKED),
            _section("Remembered", _memories(view, topics), REMEMBERED),
            _section("Newest findings", _findings(connection), FOUND),
            _section("Findings that contradict each other", _disputed(connection), DISPUTED),
        ]
    return "\n".join(part for part in parts if part)


def estimate_tokens(text: str) -> int:
    """Return about how many tokens the text takes: four characters each, rounded up."""
    return -(-len(text) // 4)


def _section(title: str, lines: Iterable[str], budget: Budget) -> str:
    """Return the section, or nothing when it has no line."""
    shown = [f"- {cut(_one_line(line), budget.line_bytes)}\n" for line in lines]
    if not shown:
        return ""
    return f"## {title}\n\n{''.join(shown[: budget.lines])}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _held(connection: Connection, actor: str) -> list[tuple[str, str]]:
    """Return the line and the title of each issue that the actor holds."""
    rows = connection.execute(
        "SELECT i.id, i.title, l.fence, l.expires_at FROM lease l JOIN issue i ON i.id = l.issue_id"
        " WHERE l.holder = ? ORDER BY l.granted_at, i.id LIMIT ?",
        (actor, HELD.lines),
    )
    return [
        (f"{r['id']} fence {r['fence']}, until {_clock(r['expires_at'])}: {r['title']}", r["title"])
        for r in rows
    ]


def _ready_count(connection: Connection, now: float) -> str:
    (number,) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM issue WHERE {READY} AND not_before <= ?"  # noqa: S608  # constants
        " LIMIT ?) AS counted",
        (now, _MANY + 1),
    ).fetchone()
    return f"more than {_MANY}" if number > _MANY else str(number)


def _next_lines(ready: Sequence[IssueRecord]) -> list[str]:
    lines = [f"{issue.id} P{issue.priority} {issue.title}" for issue in ready]
    return lines or ["nothing: `arcfusion issue blocked` shows what the open ones wait for"]


def _asked(connection: Connection) -> tuple[str, list[str]]:
    number = questions.count(connection)
    asked = questions.find(connection, ASKED.lines)
    return f"Waiting for a person: {number}", [f"{one.issue_id}: {one.text}" for one in asked]


def _memories(view: View, topics: Sequence[str]) -> list[str]:
    """Return what is remembered about the work at hand, filled up with the newest."""
    try:
        found = list(view.recall(_topic(topics), REMEMBERED.lines))
    except MemoryUnknownError:
        found = []
    if len(found) < REMEMBERED.lines:
        known = {memory.key for memory in found}
        found += [one for one in view.memories(REMEMBERED.lines) if one.key not in known]
    return [f"{memory.key}: {memory.text}" for memory in found]


def _topic(titles: Sequence[str]) -> str:
    """Return the longest words of the titles: they say most, and each costs a search."""
    known = dict.fromkeys(" ".join(titles).split())
    return " ".join(sorted(known, key=len, reverse=True)[:_TOPIC_WORDS])


def _findings(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT id, claim, status, created_at FROM insight WHERE status <> 'contradicted'"
        " ORDER BY created_at DESC, id LIMIT ?",
        (FOUND.lines,),
    )
    return [f"{_day(r['created_at'])} {r['id']} {r['status']}: {r['claim']}" for r in rows]


def _disputed(connection: Connection) -> list[str]:
    """Return contradicting findings, each beside the one that it contradicts."""
    rows = connection.execute(
        "SELECT id, claim, related, created_at FROM insight WHERE status = 'contradicted'"
        " ORDER BY updated_at DESC, id LIMIT ?",
        (DISPUTED.lines,),
    ).fetchall()
    lines: dict[str, str] = {}
    for row in rows:
        for one in (row, *_opponents(connection, json.loads(row["related"]))):
            lines.setdefault(one["id"], f"{_day(one['created_at'])} {one['id']}: {one['claim']}")
    return list(lines.values())


def _opponents(connection: Connection, ids: Sequence[str]) -> Iterator[Row]:
    """Yield the first related finding that is contradicted too."""
    for one in ids:
        row: Row | None = connection.execute(
            "SELECT id, claim, created_at FROM insight WHERE id = ? AND status = 'contradicted'",
            (one,),
        ).fetchone()
        if row is not None:
            yield row
            return


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%SZ")
