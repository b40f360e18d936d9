"""The face of the queue: one object a process, one transaction a call.

`Queue` opens the lab's database once and is used by one thread; a thread that renews a lease beside
the work opens its own. A call that returns has been committed; a call that raises wrote nothing.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from arcfusion.core.database import Connection
from arcfusion.issues import (
    capacity,
    claims,
    closing,
    editing,
    graph,
    leases,
    questions,
    reading,
)
from arcfusion.issues.attempts import summarise
from arcfusion.issues.capacity import PoolRecord
from arcfusion.issues.claims import Workplace
from arcfusion.issues.clock import to_datetime
from arcfusion.issues.draft import Draft, Edge, Json, Offer
from arcfusion.issues.errors import NothingReadyError
from arcfusion.issues.evidence import Evidence, verify
from arcfusion.issues.fit import Filter
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.leases import Holding
from arcfusion.issues.notebook import Notebook
from arcfusion.issues.ordering import Order, count_waiting
from arcfusion.issues.record import (
    Claim,
    IssueRecord,
    LeaseRecord,
    read_row,
)
from arcfusion.issues.states import Outcome

# What workers do not call all day is loaded where it is called.
if TYPE_CHECKING:
    from arcfusion.issues.document import IssueDocument, MemoryDocument, PoolDocument
    from arcfusion.issues.history import CommentRecord
    from arcfusion.issues.importing import Imported, IsSame
    from arcfusion.issues.splitting import Part


class Queue(Notebook):
    """The issues of a lab, as one actor sees and writes them.

    Args:
        home: the lab.
        actor: who writes.
        session: names one life of the actor; only with it a repeated claim by id returns the same
            claim instead of being refused.
        clock: seconds since 1970; None asks the database, so that workers need no common clock.
        config: lease, heartbeat, attempts, limits.
        checks: how evidence of the kinds that other folders know is looked up.

    Raises:
        HomeNotFoundError, ForeignDatabaseError: as `store.connect`.
    """

    # What anybody may do.

    def create(self, draft: Draft, *, holding: Holding | None = None) -> IssueRecord:
        """File an issue; the same idempotency key returns the one that was filed first.

        Args:
            draft: what to file.
            holding: the claim on whose behalf a worker files it.

        Raises:
            ClaimLostError: that claim has ended.
            IssueExistsError: the draft's id is taken.
            DependencyUnknownError, DependencyCycleError: an edge can not be stored.
        """
        return self.create_all([draft], holding=holding)[0][0]

    def create_all(
        self, drafts: Sequence[Draft], *, holding: Holding | None = None
    ) -> list[tuple[IssueRecord, bool]]:
        """File all or none, each with whether it is new; drafts may depend on each other by id.

        Raises:
            ClaimLostError, IssueExistsError, DependencyUnknownError, DependencyCycleError: as
                `create`.
        """
        with self._write() as tx:
            if holding is not None:
                leases.guard(tx, holding)
            filed = editing.create_all(tx, drafts, self.config)
        return [(self.fetch(issue_id), is_new) for issue_id, is_new in filed]

    def update(self, issue_id: str, fields: Mapping[str, Json]) -> IssueRecord:
        """Set fields by name; metadata is merged.

        Raises:
            IssueUnknownError, IssueClosedError, FieldError, TransitionError: it is not possible.
        """
        with self._write() as tx:
            editing.update(tx, issue_id, fields)
        return self.fetch(issue_id)

    def add_label(self, issue_id: str, label: str) -> IssueRecord:
        """Put a label on the issue."""
        with self._write() as tx:
            editing.add_label(tx, issue_id, label)
        return self.fetch(issue_id)

    def remove_label(self, issue_id: str, label: str) -> IssueRecord:
        """Take a label off the issue.

        Raises:
            FieldError: the issue does not have it.
        """
        with self._write() as tx:
            editing.remove_label(tx, issue_id, label)
        return self.fetch(issue_id)

    def add_dependency(self, issue_id: str, edge: Edge) -> str:
        """Make the issue depend on another one; return the edge as a sentence.

        Raises:
            IssueUnknownError, DependencyUnknownError, DependencyCycleError: it is not possible.
        """
        with self._write() as tx:
            graph.add_edge(tx, issue_id, edge)
        return graph.sentence(issue_id, edge)

    def remove_dependency(self, issue_id: str, edge: Edge) -> None:
        """Delete an edge.

        Raises:
            DependencyUnknownError: there is no such edge.
        """
        with self._write() as tx:
            graph.remove_edge(tx, issue_id, edge)

    def split(self, issue_id: str, parts: "Sequence[Part]") -> Sequence[IssueRecord]:
        """Make the issue an epic of smaller ones, and return those.

        Raises:
            SplitRefusedError: it can not be split now, or not into these parts.
        """
        from arcfusion.issues import splitting

        with self._write() as tx:
            filed = splitting.split(tx, issue_id, parts, self.config)
        return [self.fetch(child) for child in filed]

    def comment(self, issue_id: str, text: str, *, fence: int | None = None) -> "CommentRecord":
        """Say something about the issue; a worker gives its fence.

        Raises:
            ClaimLostError: the fence is not that of the current claim.
        """
        with self._write_one() as tx:
            row = editing.comment(tx, issue_id, text, fence)
        from arcfusion.issues.history import CommentRecord

        return read_row(CommentRecord, row)

    def note(self, issue_id: str, text: str, *, fence: int | None = None) -> IssueRecord:
        """Append to the issue's notes; while it is claimed only its holder does, with the fence.

        Raises:
            FenceMissingError, ClaimLostError: somebody else holds the issue.
        """
        with self._write_one() as tx:
            editing.note(tx, issue_id, text, fence)
        return self.fetch(issue_id)

    def answer(self, issue_id: str, text: str) -> IssueRecord:
        """Answer what the issue's last holder asked: it is open again.

        Raises:
            TransitionError: it asks nothing.
        """
        with self._write() as tx:
            questions.answer(tx, issue_id, text)
        return self.fetch(issue_id)

    def requeue(self, issue_id: str, reason: str) -> IssueRecord:
        """Give a quarantined issue new attempts.

        Raises:
            TransitionError: it is not quarantined.
        """
        with self._write() as tx:
            editing.requeue(tx, issue_id, reason)
        return self.fetch(issue_id)

    def reopen(self, issue_id: str, reason: str) -> IssueRecord:
        """Open a closed issue again.

        Raises:
            TransitionError: it is not closed.
        """
        with self._write() as tx:
            editing.reopen(tx, issue_id, reason)
        return self.fetch(issue_id)

    def close(
        self,
        target: Holding | str,
        outcome: Outcome,
        *,
        reason: str = "",
        evidence: Sequence[Evidence] = (),
        handoff: Handoff | None = None,
    ) -> None:
        """Close an issue and set free what waited for it.

        Args:
            target: the holder's claim or token; the id alone for an issue that nobody holds.
            outcome: how it ended; `done` and `negative` need evidence, the others a reason.
            reason: one sentence.
            evidence: what the finding rests on; all of it must hold.
            handoff: what whoever goes on from here must know.

        Raises:
            EvidenceMissingError, EvidenceRefusedError: the finding does not stand.
            ClaimLostError, FenceMissingError, IssueClosedError, ChildrenOpenError, FieldError.
        """
        issue_id, fence = _read_target(target)
        # Files are hashed before the transaction: nobody waits for it.
        held = verify(outcome, evidence, root=self.home.workspace_path, checks=self._checks)
        with self._write() as tx:
            closing.close(
                tx, issue_id, fence, outcome, reason=reason, evidence=held, handoff=handoff
            )

    # What a worker does.

    def claim(
        self,
        issue_id: str | None = None,
        *,
        labels: Sequence[str] = (),
        exclude_labels: Sequence[str] = (),
        offer: Offer = Offer(),  # noqa: B008  # frozen
        pool: str | None = None,
        order: Order = Order.PRIORITY,
        place: Workplace = Workplace(),  # noqa: B008  # frozen
    ) -> Claim:
        """Claim the issue, or the next ready one; every claim first gives back leases that ran out.

        Args:
            issue_id: None takes the first ready one.
            labels: the issue must carry all of them.
            exclude_labels: and none of these.
            offer: what the worker has; the default is all GPUs of a declared pool, else none.
            pool: whose GPUs the issue takes until its lease ends; undeclared, it has no limit.
            order: which one is first; the default is by priority, age, id.
            place: where it works, for the record.

        Raises:
            NothingReadyError, WipLimitError: none fits, or the worker holds as many as it may.
            OrderTooLargeError: the queue has more dependencies than the order can count.
            AlreadyClaimedError, IssueUnknownError, IssueClosedError, IssueBlockedError,
            IssueNotReadyError, IssueTooLargeError, NeedsNotMetError, PoolFullError: the named one
                can not be had.
        """
        wanted = Filter(
            labels=labels, exclude_labels=exclude_labels, offer=offer, pool=pool, order=order
        )
        weights = count_waiting(self._connection) if order is Order.UNBLOCKS else None
        try:
            with self._write_one() as tx:
                if issue_id is None:
                    granted = claims.claim_next(tx, self.config, wanted, place, weights)
                else:
                    granted = claims.claim_one(tx, issue_id, self.config, wanted, place, weights)
                return _read_claim(tx.connection, granted)
        except NothingReadyError:
            # Who finds nothing asks again and again: it looks first, and writes only news.
            if claims.waits(self._connection, self.now(), wanted, self.config) is not None:
                with self._write_one() as tx:
                    claims.note_waiting(tx, wanted, self.config)
            raise

    def set_capacity(
        self, pool: str, *, gpus: int | None = None, gpu_memory_bytes: int | None = None
    ) -> PoolRecord:
        """Say what a pool has, as `capacity.declare` does."""
        with self._write_one() as tx:
            capacity.declare(tx, pool, gpus, gpu_memory_bytes)
        return next(one for one in self.pools() if one.pool == pool)

    def sweep(self) -> int:
        """Give back the claims whose lease has run out; return their number."""
        with self._write_one() as tx:
            return leases.sweep(tx)

    def heartbeat(self, holding: Holding) -> LeaseRecord:
        """Renew the claim's lease.

        Raises:
            ClaimLostError: the claim has ended; stop the work.
        """
        with self._write_one() as tx:
            row = leases.heartbeat(tx, holding)
        return read_row(LeaseRecord, row)

    def checkpoint(self, holding: Holding, handoff: Handoff) -> None:
        """Keep what the next worker should know if this one dies.

        Raises:
            ClaimLostError: the claim has ended.
        """
        with self._write_one() as tx:
            leases.checkpoint(tx, holding, handoff)

    def release(
        self, holding: Holding, handoff: Handoff, *, question: str | None = None
    ) -> IssueRecord:
        """Give the claim back without blame.

        Args:
            holding: the claim.
            handoff: what the next worker must know.
            question: what is unclear; the issue is blocked until a person has answered it.

        Raises:
            QuestionMissingError: the question is empty.
            ClaimLostError: the claim has ended.
        """
        with self._write_one() as tx:
            if question is None:
                leases.release(tx, holding, handoff)
            else:
                questions.ask(tx, holding, handoff, question)
        return self.fetch(holding.issue_id)

    def fail(self, holding: Holding, handoff: Handoff, *, error: str) -> IssueRecord:
        """Give the claim back as a failed attempt: a pause, and quarantine at the limit.

        Raises:
            ClaimLostError: the claim has ended.
        """
        with self._write_one() as tx:
            leases.fail(tx, holding, handoff, error=error, config=self.config)
        return self.fetch(holding.issue_id)

    def import_all(
        self,
        documents: "Sequence[IssueDocument]",
        memories: "Sequence[MemoryDocument]" = (),
        pools: "Sequence[PoolDocument]" = (),
        *,
        is_same: "IsSame | None" = None,
    ) -> "Imported":
        """Write what an export holds and is not here yet: all of it or none.

        Raises:
            ImportFileError, IssueExistsError, DependencyUnknownError, DependencyCycleError: the
                message names the file's line.
        """
        from arcfusion.issues import importing

        with self._write() as tx:
            return importing.import_all(tx, documents, memories, pools, is_same=is_same)


def _read_claim(connection: Connection, granted: claims.Granted) -> Claim:
    issue = granted.issue
    is_first = granted.is_new and issue["attempts"] == 1
    return Claim(
        issue=reading.with_labels(connection, [issue])[0],
        fence=issue["fence"],
        attempt_id=granted.attempt_id,
        lease_s=granted.duration_s,
        lease_expires_at=to_datetime(granted.expires_at),
        last_handoff=None if is_first else leases.last_handoff(connection, issue["id"]),
        history=summarise(connection, issue["id"], issue["attempts"]),
    )


def _read_target(target: Holding | str) -> tuple[str, int | None]:
    if isinstance(target, str):
        return target, None
    return target.issue_id, target.fence
