"""Who gets an issue: by its id, or the next one that is ready.

A claim is one UPDATE ... RETURNING over the partial index of ready issues, with its lease, its
attempt and its event in the same transaction.
"""

import os
from dataclasses import dataclass
from typing import NamedTuple

from arcfusion.core.database import Row
from arcfusion.issues import graph, leases
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Needs, check_label
from arcfusion.issues.errors import (
    AlreadyClaimedError,
    IssueBlockedError,
    IssueClosedError,
    IssueNotReadyError,
    IssueTooLargeError,
    NeedsNotMetError,
    NothingReadyError,
)
from arcfusion.issues.labels import Source, choose_source
from arcfusion.issues.states import READY, EventType, IssueType, Size, Status
from arcfusion.issues.transaction import Transaction, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which ready issues a worker takes.

    Attributes:
        labels: all of them must be there.
        exclude_labels: none of them may be there.
        offer: what the worker has; issues that need more are passed over. None passes over none.
    """

    labels: tuple[str, ...] = ()
    exclude_labels: tuple[str, ...] = ()
    offer: Needs | None = None

    def __post_init__(self) -> None:
        for label in (*self.labels, *self.exclude_labels):
            check_label(label)

    def condition(self, *, given: str | None = None) -> tuple[str, list[Value]]:
        """Return the SQL terms after READY, with their parameters; the given label has its own."""
        terms: list[str] = []
        values: list[Value] = []
        for label in self.labels:
            if label == given:
                continue
            terms.append("EXISTS (SELECT 1 FROM label WHERE issue_id = issue.id AND name = ?)")
            values.append(label)
        for label in self.exclude_labels:
            terms.append("NOT EXISTS (SELECT 1 FROM label WHERE issue_id = issue.id AND name = ?)")
            values.append(label)
        if self.offer is not None:
            terms.append("needs_gpus <= ? AND needs_gpu_memory_bytes <= ?")
            values += [self.offer.gpus, self.offer.gpu_memory_bytes]
            terms.append(_skills_term(len(self.offer.skills)))
            values += self.offer.skills
        return "".join(f" AND {term}" for term in terms), values


def _skills_term(number: int) -> str:
    if number == 0:
        return "needs_skills = '[]'"
    marks = ", ".join("?" * number)
    other = f"SELECT 1 FROM json_each(needs_skills) WHERE value NOT IN ({marks})"  # noqa: S608  # marks
    return f"(needs_skills = '[]' OR NOT EXISTS ({other}))"


ORDER = "ORDER BY priority, created_at, id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where the holder works, for the attempt's record."""

    git_commit: str | None = None
    device: str | None = None


class Granted(NamedTuple):
    """The rows of a claimed issue and of its lease."""

    issue: Row
    lease: Row
    is_new: bool


def next_sql(condition: str, source: Source = Source()) -> str:  # noqa: B008  # frozen
    """Return the query of the next ready issue's id.

    Its parameters are those of the source, the time, and those of the condition.
    """
    return (
        f"{source.prefix}SELECT issue.id FROM {source.tables}"  # noqa: S608  # constants
        f" WHERE {source.join}{READY} AND not_before <= ?{condition} {ORDER} LIMIT 1"
    )


def claim_next(tx: Transaction, config: QueueConfig, wanted: Filter, place: Workplace) -> Granted:
    """Claim the first ready issue that the filter lets through.

    Raises:
        NothingReadyError: there is none.
    """
    leases.sweep(tx)
    row = _take_next(tx, wanted, tx.connection.dialect.lock_free_rows)
    if row is None and tx.connection.dialect.lock_rows:
        # What is ready may be locked for a moment, by a note: a worker must not leave for that.
        row = _take_next(tx, wanted, tx.connection.dialect.lock_rows)
    if row is None:
        raise NothingReadyError(_nothing_ready(tx, wanted))
    return _grant(tx, row, config, place)


def _take_next(tx: Transaction, wanted: Filter, locked: str) -> Row | None:
    source = choose_source(tx.connection, wanted.labels, 1)
    condition, values = wanted.condition(given=source.label)
    return tx.row(
        "UPDATE issue SET status = 'in_progress', assignee = ?, fence = fence + 1,"  # noqa: S608  # constants
        " attempts = attempts + 1, started_at = ?, updated_at = ?, revision = revision + 1"
        f" WHERE id = ({next_sql(condition, source)}{locked}) AND status = 'open' RETURNING *",
        tx.actor,
        tx.now,
        tx.now,
        *source.values,
        tx.now,
        *values,
    )


def claim_one(
    tx: Transaction, issue_id: str, config: QueueConfig, wanted: Filter, place: Workplace
) -> Granted:
    """Claim the named issue.

    The same actor in the same session gets its own claim again, with the same fence.

    Raises:
        IssueUnknownError, IssueClosedError, AlreadyClaimedError, IssueBlockedError,
        IssueNotReadyError, IssueTooLargeError, NeedsNotMetError: why it can not be had.
    """
    leases.sweep(tx)
    row = _take_one(tx, issue_id, wanted)
    if row is None and tx.connection.dialect.lock_rows:
        # From here on nobody changes it, so that the reason is the one of this moment.
        tx.issue_row(issue_id)
        row = _take_one(tx, issue_id, wanted)
    if row is not None:
        return _grant(tx, row, config, place)
    held = tx.row("SELECT * FROM lease WHERE issue_id = ?", issue_id)
    mine = (tx.actor, tx.session)
    if held is not None and tx.session is not None and (held["holder"], held["session"]) == mine:
        return Granted(tx.issue_row(issue_id), held, is_new=False)
    _refuse(tx, issue_id, held, wanted)
    raise AssertionError("an issue that nothing refuses was not claimed")


def _take_one(tx: Transaction, issue_id: str, wanted: Filter) -> Row | None:
    condition, values = wanted.condition()
    return tx.row(
        "UPDATE issue SET status = 'in_progress', assignee = ?, fence = fence + 1,"  # noqa: S608  # constants
        " attempts = attempts + 1, started_at = ?, updated_at = ?, revision = revision + 1"
        f" WHERE id = ? AND {READY} AND not_before <= ?{condition} RETURNING *",
        tx.actor,
        tx.now,
        tx.now,
        issue_id,
        tx.now,
        *values,
    )


def _grant(tx: Transaction, issue: Row, config: QueueConfig, place: Workplace) -> Granted:
    """Write the lease, the attempt and the event of a claim that was just made."""
    fence = issue["fence"]
    attempt_id = f"{issue['id']}@{fence}"
    tx.run(
        "INSERT INTO attempt (id, issue_id, number, fence, actor, session, host, pid, git_commit,"
        " device, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        attempt_id,
        issue["id"],
        issue["attempts"],
        fence,
        tx.actor,
        tx.session,
        os.uname().nodename,
        os.getpid(),
        place.git_commit,
        place.device,
        tx.now,
    )
    lease = tx.row(
        "INSERT INTO lease (issue_id, fence, attempt_id, holder, session, duration_s, granted_at,"
        " heartbeat_at, expires_at, gpus, gpu_memory_bytes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        issue["id"],
        fence,
        attempt_id,
        tx.actor,
        tx.session,
        config.lease_s,
        tx.now,
        tx.now,
        tx.now + config.lease_s,
        issue["needs_gpus"],
        issue["needs_gpu_memory_bytes"],
    )
    assert lease is not None
    tx.log(
        EventType.CLAIMED,
        issue["id"],
        fence=fence,
        before={"status": Status.OPEN, "assignee": None},
        after={
            "status": Status.IN_PROGRESS,
            "assignee": tx.actor,
            "fence": fence,
            "attempts": issue["attempts"],
            "started_at": tx.now,
            "attempt": {
                "host": os.uname().nodename,
                "pid": os.getpid(),
                "session": tx.session,
                "git_commit": place.git_commit,
                "device": place.device,
            },
            "lease_s": config.lease_s,
        },
    )
    return Granted(issue, lease, is_new=True)


def _refuse(tx: Transaction, issue_id: str, held: Row | None, wanted: Filter) -> None:
    """Raise the reason why the issue can not be claimed."""
    issue = tx.issue_row(issue_id)
    if held is not None:
        raise AlreadyClaimedError(
            f"issue {issue_id!r} is claimed by {held['holder']!r}: take another one"
        )
    match Status(issue["status"]):
        case Status.CLOSED:
            raise IssueClosedError(
                f"issue {issue_id!r} is closed ({issue['outcome']}): it can not be claimed"
            )
        case Status.OPEN | Status.IN_PROGRESS:
            pass
        case other:
            raise IssueNotReadyError(f"issue {issue_id!r} is {other}: it can not be claimed")
    if issue["blocked_by"] > 0:
        reasons = "; ".join(graph.explain_blockers(tx.connection, issue_id))
        raise IssueBlockedError(f"issue {issue_id!r} is not ready: {reasons}")
    if issue["type"] == IssueType.EPIC or issue["size"] == Size.XL:
        if issue["type"] == IssueType.EPIC:
            raise IssueTooLargeError(f"issue {issue_id!r} is an epic: claim a smaller part of it")
        raise IssueTooLargeError(
            f"issue {issue_id!r} is of size XL: split it first with "
            f"`arcfusion issue split {issue_id} --into TITLE --into TITLE`"
        )
    if issue["not_before"] > tx.now:
        wait_s = issue["not_before"] - tx.now
        raise IssueNotReadyError(f"issue {issue_id!r} can be claimed in {wait_s:.0f} s, not before")
    raise NeedsNotMetError(_unmet(issue, wanted))


def _unmet(issue: Row, wanted: Filter) -> str:
    offer = wanted.offer or Needs()
    return (
        f"issue {issue['id']!r} does not fit what this worker takes: it needs "
        f"{issue['needs_gpus']} GPUs of {issue['needs_gpu_memory_bytes'] / 2**30:g} GiB and skills "
        f"{issue['needs_skills']}, offered are {offer.gpus} of {offer.gpu_memory_bytes / 2**30:g} "
        f"GiB and {list(offer.skills)}, with labels {list(wanted.labels)} and without "
        f"{list(wanted.exclude_labels)}"
    )


def _nothing_ready(tx: Transaction, wanted: Filter) -> str:
    some = f"SELECT 1 FROM issue WHERE {READY} AND not_before <= ? LIMIT 1000"  # noqa: S608  # constants
    row = tx.row(f"SELECT count(*) FROM ({some}) AS found", tx.now)  # noqa: S608  # constants
    assert row is not None
    if row[0] == 0:
        return "no issue is ready: `arcfusion issue blocked` shows what the open ones wait for"
    offer = wanted.offer or Needs()
    return (
        f"{row[0]} issues are ready and none fits: labels {list(wanted.labels)}, without "
        f"{list(wanted.exclude_labels)}, {offer.gpus} GPUs, skills {list(offer.skills)}"
    )
