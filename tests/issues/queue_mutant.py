"""A worker of the queue's proofs with a planted defect: `queue_mutant.py DEFECT ROLE JSON`."""

import sqlite3
import sys
import time
from contextlib import closing

from arcfusion.agents.bench import queue_worker
from arcfusion.core import store
from arcfusion.issues.attempts import AttemptSummary
from arcfusion.issues.errors import NothingReadyError
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim


class SelectThenUpdate(Queue):
    """Looks for an open issue and then takes it, without a transaction around both."""

    def claim(self, issue_id=None, **_options) -> Claim:
        found = [self.fetch(issue_id)] if issue_id else self.ready(1)
        if not found:
            raise NothingReadyError
        issue, fence = found[0], found[0].fence + 1
        with closing(sqlite3.connect(self.home.db_path, isolation_level=None, timeout=30)) as raw:
            raw.execute(
                "UPDATE issue SET status = 'in_progress', assignee = ?, fence = ? WHERE id = ?",
                (self.actor, fence, issue.id),
            )
            raw.execute(
                "INSERT OR REPLACE INTO lease (issue_id, fence, attempt_id, holder, duration_s,"
                " granted_at, heartbeat_at, expires_at, gpus, gpu_memory_bytes)"
                " VALUES (?, ?, '', ?, 3600, 0, 0, 1e12, 0, 0)",
                (issue.id, fence, self.actor),
            )
        return Claim(
            issue=issue, fence=fence, attempt_id="", lease_s=3600,
            lease_expires_at=issue.created_at, last_handoff=None,
            history=AttemptSummary(attempts=1, outcomes={}, last_error=None),
        )  # fmt: skip


def begin_as_reader(connection: store.LabConnection, *, read_only: bool = False) -> None:
    """Read under a deferred BEGIN: SQLite refuses to write after another's commit."""
    connection.execute("BEGIN")
    if not read_only:
        connection.execute("SELECT count(*) FROM issue").fetchone()
        time.sleep(0.002)


class Slow(Queue):
    """Needs 50 ms longer for a claim."""

    def claim(self, issue_id=None, **options) -> Claim:
        time.sleep(0.05)
        return super().claim(issue_id, **options)


class Forgetful(Queue):
    """Says that a checkpoint is kept before it is."""

    def checkpoint(self, holding, handoff) -> None:
        pass


class Unfenced(Queue):
    """Leaves the fence out of a comment."""

    def comment(self, issue_id, text, *, fence=None):
        return super().comment(issue_id, text)


DEFECTS = {
    "select_then_update": SelectThenUpdate,
    "deferred": Queue,
    "slow": Slow,
    "forgetful": Forgetful,
    "unfenced": Unfenced,
}

if __name__ == "__main__":
    queue_worker.Queue = DEFECTS[sys.argv[1]]
    if sys.argv[1] == "deferred":
        store.LabConnection.begin = begin_as_reader
    queue_worker.main(sys.argv[2:])
