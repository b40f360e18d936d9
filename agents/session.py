"""One worker's session on one claim: its turns, and the plan that outlives it."""

import json
import os
import platform
import time
from dataclasses import dataclass

from arcfusion.core import store
from arcfusion.core.database import Connection
from arcfusion.core.errors import LostGuardError
from arcfusion.core.home import Home
from arcfusion.core.ids import digest, short_id
from arcfusion.core.store import Guard

CHARACTERS_PER_TOKEN = 4  # a usual estimate for English and code; the check needs no more


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """One step as text."""

    position: int
    kind: str
    content: str
    tokens: int


class SessionLog:
    """The turns of one session, in the database, so that a successor can read them."""

    def __init__(self, home: Home, *, issue_id: str, fence: int, guard: Guard) -> None:
        self.home = home
        self._guard = guard
        self.id = short_id("session", [issue_id, fence])
        self._issue_id = issue_id
        self._fence = fence

    def begin(self, *, actor: str, role: str) -> None:
        """Record that work on the claim begins."""
        from arcfusion.agents.tables import Session

        with store.session(self.home, guard=self._guard) as database:
            database.merge(
                Session(
                    id=self.id,
                    actor=actor,
                    role=role,
                    issue_id=self._issue_id,
                    fence=self._fence,
                    host=platform.node(),
                    pid=os.getpid(),
                    started_at=time.time(),
                )
            )

    def add(self, kind: str, content: str) -> None:
        """Append a turn."""
        from sqlmodel import func, select

        from arcfusion.agents.tables import Turn

        with store.session(self.home, guard=self._guard) as database:
            count = database.exec(
                select(func.count()).select_from(Turn).where(Turn.session_id == self.id)
            ).one()
            database.add(
                Turn(
                    session_id=self.id,
                    position=count,
                    kind=kind,
                    content=content,
                    tokens=estimate_tokens(content),
                    created_at=time.time(),
                )
            )

    def turns(self) -> list[StoredTurn]:
        """Return the turns that are still in context, oldest first."""
        connection = store.connect(self.home)
        try:
            rows = connection.execute(
                "SELECT position, kind, content, tokens FROM turn"
                " WHERE session_id = ? AND compacted = 0 ORDER BY position",
                (self.id,),
            ).fetchall()
        finally:
            connection.close()
        return [StoredTurn(**dict(row)) for row in rows]

    def compact(self, summary: str) -> None:
        """Put the summary in the place of every turn so far; the old ones stay in the database."""
        connection = store.connect(self.home)
        try:
            with store.write(connection, guard=self._guard):
                connection.execute("UPDATE turn SET compacted = 1 WHERE session_id = ?", (self.id,))
        finally:
            connection.close()
        self.add("summary", summary)

    def end(self, ending: str) -> None:
        """Record how the session ended, once: its claim has ended with it, or before."""
        connection = store.connect(self.home)
        try:
            with store.write(connection, guard=self._hold_own_row):
                connection.execute(
                    "UPDATE session SET ended_at = ?, ending = ? WHERE id = ? AND fence = ?",
                    (time.time(), ending, self.id, self._fence),
                )
        finally:
            connection.close()

    def _hold_own_row(self, connection: Connection) -> None:
        """Be the guard of the ending: the row of this fence is nobody else's, and not ended."""
        row = connection.execute(
            "SELECT ended_at FROM session WHERE id = ? AND fence = ?", (self.id, self._fence)
        ).fetchone()
        if row is not None and row["ended_at"] is not None:
            raise LostGuardError(f"session {self.id} has ended already: nothing was written")


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a model would need for the text, at least 1."""
    return max(1, len(text) // CHARACTERS_PER_TOKEN)


def load_plan(home: Home, issue_id: str) -> dict[str, object] | None:
    """Return the issue's stored plan, or None."""
    connection = store.connect(home)
    try:
        row = connection.execute(
            "SELECT document FROM plan WHERE issue_id = ?", (issue_id,)
        ).fetchone()
    finally:
        connection.close()
    return None if row is None else json.loads(row["document"])


def store_plan(
    home: Home, issue_id: str, document: dict[str, object], *, guard: Guard
) -> dict[str, object]:
    """Store the plan unless the issue has one; return the one that holds."""
    connection = store.connect(home)
    try:
        with store.write(connection, guard=guard):
            connection.execute(
                "INSERT INTO plan (issue_id, document, digest, created_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (issue_id) DO NOTHING",
                (issue_id, json.dumps(document, sort_keys=True), digest(document), time.time()),
            )
    finally:
        connection.close()
    held = load_plan(home, issue_id)
    assert held is not None
    return held
