"""Questions to people: a worker gives its claim back with what is unclear, a person answers.

The question is in the issue's row while it is open, and the label `needs-human` is on the issue
exactly as long. With its answer it stays in the handoff of the attempt that asked, so that the next
claim brings both, and in a comment.
"""

from dataclasses import dataclass, replace

from arcfusion.core.database import Connection, Row
from arcfusion.issues import editing, leases
from arcfusion.issues.draft import check_text
from arcfusion.issues.errors import QuestionMissingError, TransitionError
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.leases import Holding
from arcfusion.issues.states import NEEDS_HUMAN, AttemptOutcome, EventType, Status
from arcfusion.issues.transaction import Transaction

MAX_QUESTION_CHARACTERS = 2_000
ANY_NUMBER = 1_000_000

_SELECT = (
    "SELECT i.id, i.title, i.question, (SELECT a.actor FROM attempt a"
    " WHERE a.issue_id = i.id AND a.fence = i.fence) AS asker"
)
# By the label's index: the issues that wait for a person are few among all.
_OPEN = (
    " FROM label l JOIN issue i ON i.id = l.issue_id"
    f" WHERE l.name = '{NEEDS_HUMAN}' AND i.question IS NOT NULL"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a worker asks a person; `asker` is unknown for an issue from elsewhere."""

    issue_id: str
    title: str
    text: str
    asker: str | None

    def __str__(self) -> str:
        return f"{self.issue_id} waits for a person: {self.asker or 'somebody'} asks: {self.text}"


def ask(tx: Transaction, holding: Holding, handoff: Handoff, question: str) -> None:
    """Give the claim back, blocked until a person has answered; the attempt is not blamed.

    Raises:
        QuestionMissingError: the question is empty.
        FieldError: it is too long.
        ClaimLostError: the claim has ended.
    """
    text = question.strip()
    if not text:
        raise QuestionMissingError
    check_text("the question", text, MAX_QUESTION_CHARACTERS)
    kept = replace(handoff, question=text, answer="").fit()
    leases.end(tx, holding, AttemptOutcome.RELEASED, handoff=kept)
    issue = tx.issue_row(holding.issue_id)
    tx.change(
        EventType.ASKED,
        issue,
        {"status": Status.BLOCKED, "assignee": None, "question": text},
        fence=holding.fence,
        detail={"handoff": kept.to_json()},
    )
    editing.add_label(tx, holding.issue_id, NEEDS_HUMAN)


def answer(tx: Transaction, issue_id: str, text: str) -> None:
    """Answer what the issue's last holder asked: the issue is open again.

    Raises:
        TransitionError: the issue asks nothing.
        FieldError: the answer is empty or too long.
    """
    row = tx.issue_row(issue_id)
    asked = row["question"]
    if asked is None:
        raise TransitionError(
            f"issue {issue_id!r} asks nothing: `arcfusion issue comment` says something about it"
        )
    editing.check_body("answer", text)
    kept = _add_answer(tx, row, text)
    editing.drop_label(tx, issue_id, NEEDS_HUMAN)
    tx.change(
        EventType.ANSWERED,
        row,
        {"status": Status.OPEN, "question": None},
        detail={"answer": text, "handoff": kept},
    )
    # Last: comments are numbered, one write at a time.
    editing.comment(tx, issue_id, f"Asked: {asked}\nAnswer: {text}", None)


def withdraw(tx: Transaction, row: Row) -> None:
    """Take an open question off an issue that ends without an answer."""
    if row["question"] is not None:
        editing.drop_label(tx, row["id"], NEEDS_HUMAN)
        tx.change(EventType.UPDATED, row, {"question": None})


def find(connection: Connection, limit: int = ANY_NUMBER) -> list[Question]:
    """Return the open questions, the most urgent issue first."""
    order = " ORDER BY i.priority, i.created_at, i.id LIMIT ?"
    return [_read(row) for row in connection.execute(f"{_SELECT}{_OPEN}{order}", (limit,))]


def read(connection: Connection, issue_id: str) -> Question:
    """Return what the issue asks; it does ask something."""
    row = connection.execute(f"{_SELECT} FROM issue i WHERE i.id = ?", (issue_id,)).fetchone()
    return _read(row)


def count(connection: Connection) -> int:
    """Return how many issues wait for a person's answer."""
    (number,) = connection.execute(f"SELECT count(*){_OPEN}").fetchone()
    return int(number)


def _read(row: Row) -> Question:
    return Question(
        issue_id=row["id"], title=row["title"], text=row["question"], asker=row["asker"]
    )


def _add_answer(tx: Transaction, row: Row, text: str) -> str | None:
    """Put the answer beside the question in the handoff of the attempt that asked."""
    attempt = tx.row(
        "SELECT handoff FROM attempt WHERE issue_id = ? AND fence = ?", row["id"], row["fence"]
    )
    if attempt is None or attempt["handoff"] is None:
        return None
    kept = replace(Handoff.from_json(attempt["handoff"]), answer=text).fit().to_json()
    tx.run_one(
        "UPDATE attempt SET handoff = ? WHERE issue_id = ? AND fence = ?",
        kept,
        row["id"],
        row["fence"],
    )
    return kept
