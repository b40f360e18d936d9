"""What fits a worker: which ready issues it takes, and in words why it does not take the others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arcfusion.core.database import Connection, Row
from arcfusion.issues import ordering
from arcfusion.issues.capacity import Room
from arcfusion.issues.draft import Offer, check_label
from arcfusion.issues.ordering import Order
from arcfusion.issues.record import IssueRecord
from arcfusion.issues.states import READY
from arcfusion.issues.transaction import Transaction, Value

Condition = tuple[str, list[Value]]

_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which ready issues a worker takes, and which one first.

    Attributes:
        labels: all of them must be there.
        exclude_labels: none of them may be there.
        offer: what the worker has; issues that need more are passed over. None passes over none.
        pool: whose GPUs it takes; counts only when the pool is declared.
        order: which one comes first.
    """

    labels: Sequence[str] = ()
    exclude_labels: Sequence[str] = ()
    offer: Offer | None = None
    pool: str | None = None
    order: Order = Order.PRIORITY

    def __post_init__(self) -> None:
        for label in (*self.labels, *self.exclude_labels):
            check_label(label)

    def condition(self, room: Room | None = None, *, given: str | None = None) -> Condition:
        """Return the SQL terms after READY, with their parameters: what can be handed out now.

        Args:
            room: what the pool has.
            given: a label that the query asks for in another way.
        """
        terms, values = self._label_terms(given)
        if self.offer is not None or room is not None:
            gpus, memory_bytes = self.limits(room)
            terms.append("needs_gpus <= ? AND needs_gpu_memory_bytes <= ?")
            values += [gpus if room is None else min(gpus, room.free), memory_bytes]
            self._add_offer_terms(terms, values)
        if room is not None and room.is_reserved:
            terms.append("(needs_gpus = 0 OR id = ?)")
            values.append(room.waiting)
        return "".join(f" AND {term}" for term in terms), values

    def waiting_condition(self, room: Room) -> Condition:
        """Return the terms of what fits the worker and the pool, but not what is free there now."""
        terms, values = self._label_terms()
        gpus, memory_bytes = self.limits(room)
        terms.append("needs_gpus > ? AND needs_gpus <= ? AND needs_gpu_memory_bytes <= ?")
        values += [room.free, gpus, memory_bytes]
        self._add_offer_terms(terms, values)
        return " AND ".join(terms), values

    def limits(self, room: Room | None) -> tuple[int, int]:
        """Return the most GPUs, and bytes on each, that an issue may need."""
        offer = self.offer or Offer()
        if room is None:
            return offer.gpus or 0, offer.gpu_memory_bytes or 0
        gpus, memory_bytes = room.gpus, room.gpu_memory_bytes
        if offer.gpus is not None:
            gpus = min(gpus, offer.gpus)
        if offer.gpu_memory_bytes is not None:
            memory_bytes = min(memory_bytes, offer.gpu_memory_bytes)
        return gpus, memory_bytes

    def _label_terms(self, given: str | None = None) -> tuple[list[str], list[Value]]:
        known = "EXISTS (SELECT 1 FROM label WHERE issue_id = issue.id AND name = ?)"
        labels = [label for label in self.labels if label != given]
        terms = [known for _ in labels]
        terms += [f"NOT {known}" for _ in self.exclude_labels]
        return terms, [*labels, *self.exclude_labels]

    def _add_offer_terms(self, terms: list[str], values: list[Value]) -> None:
        offer = self.offer or Offer()
        if offer.skills:
            # Each offered word is taken out of the JSON text; a quote that is left is one more.
            left = "needs_skills"
            for _ in offer.skills:
                left = f"replace({left}, ?, '')"
            terms.append(f"(needs_skills = '[]' OR {left} NOT LIKE '%\"%')")
            values += [json.dumps(skill) for skill in offer.skills]
        else:
            terms.append("needs_skills = '[]'")
        if offer.minutes is not None:
            terms.append("(estimated_minutes IS NULL OR estimated_minutes <= ?)")
            values.append(offer.minutes)


def find_waiting(connection: Connection, now: float, wanted: Filter, room: Room) -> str | None:
    """Return the first ready issue that fits the worker and the pool, but not what is free."""
    condition, values = wanted.waiting_condition(room)
    order = ordering.order_by(Order.PRIORITY)
    sql = f"SELECT id FROM issue WHERE {READY} AND not_before <= ? AND {condition} {order} LIMIT 1"  # noqa: S608  # constants
    row = connection.execute(sql, (now, *values)).fetchone()
    return None if row is None else row["id"]


def find_passed(
    tx: Transaction,
    wanted: Filter,
    room: Room,
    issue: Row,
    weights: Mapping[str, int] | None,
) -> str | None:
    """Return the first issue that waits for the pool's GPUs and comes before the claimed one.

    Args:
        tx: the write that claims.
        wanted: the claim's; the issue for which the pool waits counts even where it does not fit.
        room: the pool as it was before the claim.
        issue: what is handed out.
        weights: of `ordering.count_waiting`, for the order `unblocks`.
    """
    condition, values = wanted.waiting_condition(room)
    if room.waiting is not None:
        condition, values = f"({condition} OR id = ?)", [*values, room.waiting]
    if weights is not None:
        first = ordering.rank(tx.connection, tx.now, f" AND {condition}", values, 1, weights)
        place = ordering.place_of(issue, weights)
        return first[0].id if first and first[0] < place else None
    keys = ordering.KEYS[wanted.order]
    marks = ", ".join("?" for _ in keys)
    row = tx.row(
        f"SELECT id FROM issue WHERE {READY} AND not_before <= ? AND {condition}"  # noqa: S608  # constants
        f" AND ({', '.join(keys)}) < ({marks}) {ordering.order_by(wanted.order)} LIMIT 1",
        tx.now,
        *values,
        *(issue[key] for key in keys),
    )
    return None if row is None else row["id"]


def explain_unfit(issue: IssueRecord, wanted: Filter, room: Room | None) -> list[str]:
    """Return in words why the worker never takes the issue as it is; empty when it may."""
    offer = wanted.offer or Offer()
    reasons = [f"it has no label {label!r}" for label in wanted.labels if label not in issue.labels]
    reasons += [
        f"it has the label {label!r}" for label in wanted.exclude_labels if label in issue.labels
    ]
    if wanted.offer is None and room is None:
        return reasons
    gpus, memory_bytes = wanted.limits(room)
    needs = issue.needs
    if needs.gpus > gpus:
        reasons.append(f"it needs {needs.gpus} GPUs, {_source(offer.gpus, gpus, room)} {gpus}")
    if needs.gpu_memory_bytes > memory_bytes:
        source = _source(offer.gpu_memory_bytes, memory_bytes, room)
        reasons.append(
            f"it needs {needs.gpu_memory_bytes / _GIB:g} GiB on a GPU, {source} "
            f"{memory_bytes / _GIB:g} GiB"
        )
    missing = [skill for skill in needs.skills if skill not in offer.skills]
    if missing:
        reasons.append(f"it needs the skills {', '.join(missing)}, which are not offered")
    minutes = issue.estimated_minutes
    if offer.minutes is not None and minutes is not None and minutes > offer.minutes:
        reasons.append(f"it takes about {minutes} minutes, the worker has {offer.minutes} left")
    return reasons


def explain_full(issue: IssueRecord, room: Room | None) -> list[str]:
    """Return in words why the pool can not take the issue now; empty when it can."""
    if room is None or issue.needs.gpus == 0:
        return []
    if room.is_reserved and room.waiting != issue.id:
        return [f"the pool {room.pool!r} is kept free for {room.waiting!r}, which waits for GPUs"]
    if issue.needs.gpus > room.free:
        return [
            f"it needs {issue.needs.gpus} GPUs, free are {room.free} of {room.gpus} in the pool "
            f"{room.pool!r}"
        ]
    return []


def describe(wanted: Filter, room: Room | None) -> str:
    """Return in words what the worker takes, and what its pool has."""
    offer = wanted.offer or Offer()
    gpus, _ = wanted.limits(room)
    text = (
        f"labels {list(wanted.labels)}, without {list(wanted.exclude_labels)}, {gpus} GPUs, "
        f"skills {list(offer.skills)}"
    )
    if offer.minutes is not None:
        text += f", {offer.minutes} minutes left"
    if room is not None:
        text += f"; {room.free} of {room.gpus} GPUs are free in the pool {room.pool!r}"
        if room.is_reserved:
            text += f", kept free for {room.waiting!r}"
    return text


def _source(offered: int | None, limit: int, room: Room | None) -> str:
    """Say whose limit it is."""
    if room is None or offered == limit:
        return "the worker offers"
    return f"the pool {room.pool!r} has"


def explain_nothing(tx: Transaction, wanted: Filter, room: Room | None) -> str:
    """Return in words why a claim found nothing."""
    some = f"SELECT 1 FROM issue WHERE {READY} AND not_before <= ? LIMIT 1000"  # noqa: S608  # constants
    row = tx.row(f"SELECT count(*) FROM ({some}) AS found", tx.now)  # noqa: S608  # constants
    assert row is not None
    if row[0] == 0:
        return "no issue is ready: `arcfusion issue blocked` shows what the open ones wait for"
    return f"{row[0]} issues are ready and none fits: {describe(wanted, room)}"
