"""What the queue shows: one read-only object a process. `Queue` adds the writes.

A read takes no lock and waits for nobody; it sees what was committed when it began.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from arcfusion.core import store
from arcfusion.core.database import Connection
from arcfusion.core.home import Home
from arcfusion.issues import capacity, graph, reading
from arcfusion.issues.capacity import PoolRecord
from arcfusion.issues.clock import Clock, read_database_clock
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Offer
from arcfusion.issues.fit import Filter
from arcfusion.issues.ordering import Order
from arcfusion.issues.record import EdgeRecord, IssueRecord
from arcfusion.issues.states import Status

if TYPE_CHECKING:
    from arcfusion.issues.history import EventRecord, IssueDetail
    from arcfusion.issues.memory import MemoryRecord
    from arcfusion.issues.questions import Question

DEFAULT_LIMIT = 1_000_000


class View:
    """The issues of a lab, to look at.

    Args:
        home: the lab.
        clock: seconds since 1970; None asks the database.
        config: a view shows the lease, the heartbeat, and when a pool is kept free.

    Raises:
        HomeNotFoundError, ForeignDatabaseError: as `store.connect`.
    """

    def __init__(
        self, home: Home, *, clock: Clock | None = None, config: QueueConfig | None = None
    ) -> None:
        self.home = home
        self.config = config or QueueConfig()
        self._clock = clock
        self._connection = store.connect(home)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection to the database."""
        self._connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Read all tables as they are at one moment; nobody waits for it."""
        with store.snapshot(self._connection) as connection:
            yield connection

    def now(self) -> float:
        """Return seconds since 1970 by the queue's clock."""
        return read_database_clock(self._connection) if self._clock is None else self._clock()

    def fetch(self, issue_id: str) -> IssueRecord:
        """Return the issue.

        Raises:
            IssueUnknownError: there is none of that id.
        """
        return reading.fetch(self._connection, issue_id)

    def has(self, issue_id: str) -> bool:
        """Return whether there is such an issue."""
        return reading.has(self._connection, issue_id)

    def find_idempotent(self, key: str) -> str | None:
        """Return the id of the issue that was filed under the idempotency key."""
        return reading.find_idempotent(self._connection, key)

    def show(self, issue_id: str) -> "IssueDetail":
        """Return the issue with its edges, comments, attempts and lease.

        Raises:
            IssueUnknownError: there is none of that id.
        """
        return reading.detail(self._connection, issue_id)

    def ready(
        self,
        limit: int = DEFAULT_LIMIT,
        *,
        labels: Sequence[str] = (),
        exclude_labels: Sequence[str] = (),
        offer: Offer | None = None,
        pool: str | None = None,
        order: Order = Order.PRIORITY,
    ) -> Sequence[IssueRecord]:
        """Return the issues that can be claimed, in the order in which they are handed out.

        With an offer or a declared pool, only those that fit what it has and what is free there.

        Raises:
            OrderTooLargeError: the queue has more dependencies than the order can count.
        """
        wanted = Filter(
            labels=labels, exclude_labels=exclude_labels, offer=offer, pool=pool, order=order
        )
        now, k = self.now(), self.config.reserve_after
        return reading.ready(self._connection, now, wanted, limit, k)

    def unfit(
        self,
        limit: int = DEFAULT_LIMIT,
        *,
        labels: Sequence[str] = (),
        exclude_labels: Sequence[str] = (),
        offer: Offer | None = None,
        pool: str | None = None,
    ) -> Sequence[tuple[IssueRecord, Sequence[str]]]:
        """Return the ready issues that the offer or the pool can not take, with the reasons."""
        wanted = Filter(labels=labels, exclude_labels=exclude_labels, offer=offer, pool=pool)
        now, k = self.now(), self.config.reserve_after
        return reading.unfit(self._connection, now, wanted, limit, k)

    def pools(self) -> Sequence[PoolRecord]:
        """Return the declared pools by name, with what is in use."""
        return capacity.pools(self._connection, self.now(), self.config.reserve_after)

    def list(
        self,
        *,
        statuses: Sequence[Status] = (),
        labels: Sequence[str] = (),
        limit: int = DEFAULT_LIMIT,
    ) -> Sequence[IssueRecord]:
        """Return issues in working order; no status given means all of them."""
        return reading.listing(self._connection, statuses=statuses, labels=labels, limit=limit)

    def blocked(self, limit: int = DEFAULT_LIMIT) -> Sequence[tuple[IssueRecord, Sequence[str]]]:
        """Return the issues that can not be worked on now, with the reasons in words."""
        return reading.blocked(self._connection, limit)

    def explain(self, issue_id: str) -> Sequence[str]:
        """Return why the issue is not ready, in words; empty when nothing holds it back."""
        return reading.reasons(self._connection, self.fetch(issue_id))

    def open_questions(self) -> "Sequence[Question]":
        """Return what waits for a person's answer, the most urgent issue first."""
        from arcfusion.issues import questions

        return questions.find(self._connection)

    def edges(self) -> Sequence[EdgeRecord]:
        """Return every dependency of the graph."""
        return graph.all_edges(self._connection)

    def counts(self) -> dict[Status, int]:
        """Return the number of issues in each status."""
        return reading.counts(self._connection)

    def ready_count(self) -> int:
        """Return the number of issues that can be claimed."""
        return reading.ready_count(self._connection, self.now())

    def expired_count(self) -> int:
        """Return the number of claims that the next claim will give back."""
        return reading.expired_count(self._connection, self.now())

    def events(
        self,
        issue_id: str | None = None,
        *,
        after_seq: int = 0,
        limit: int = DEFAULT_LIMIT,
    ) -> "Sequence[EventRecord]":
        """Return what was written, in order, of one issue or of all."""
        return reading.events(self._connection, issue_id=issue_id, after_seq=after_seq, limit=limit)

    def recall(self, query: str = "", limit: int = 10) -> "Sequence[MemoryRecord]":
        """Return what is remembered about the query, the best match first.

        Raises:
            MemoryUnknownError: nothing is.
        """
        from arcfusion.issues import memory

        return memory.recall(self._connection, query, limit)

    def memories(
        self, limit: int = DEFAULT_LIMIT, *, everything: bool = False
    ) -> "Sequence[MemoryRecord]":
        """Return what is remembered, the newest first; everything is with what is superseded."""
        from arcfusion.issues import memory

        return memory.listing(self._connection, limit, everything=everything)
