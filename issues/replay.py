"""Replay: the event log alone rebuilds the tables, and every difference is named.

Heartbeats leave no events, so the two times of a lease that they move are not compared. The blocker
counter is in no event either: it is counted here from the rebuilt edges, by another way than
`issues.graph` counts it.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from arcfusion.core.database import Connection
from arcfusion.issues.blockers import count_blockers
from arcfusion.issues.document import attempt_id
from arcfusion.issues.states import AttemptOutcome, EventType
from arcfusion.issues.view import View

Key = tuple[Any, ...]
Record = dict[str, Any]

KEYS: dict[str, tuple[str, ...]] = {
    "issue": ("id",),
    "label": ("issue_id", "name"),
    "dependency": ("issue_id", "depends_on_id", "type"),
    "lease": ("issue_id",),
    "attempt": ("id",),
    "comment": ("id",),
    "memory": ("key",),
    "capacity": ("pool",),
}
UNLOGGED = {("lease", "heartbeat_at"), ("lease", "expires_at")}
_PRESENCE = {True: "there", False: "missing"}
_CLAIMED = ("status", "assignee", "fence", "attempts", "started_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value that the log and the tables do not agree on; a `column` of `*` is a whole row."""

    table: str
    key: str
    column: str
    replayed: object
    live: object

    def __str__(self) -> str:
        where = f"{self.table} {self.key}"
        if self.column != "*":
            where += f", {self.column}"
        return f"{where}: the log says {self.replayed!r}, the table {self.live!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a replay found; `differences` is empty when the log rebuilds the tables."""

    events: int
    issues: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One event as replay reads it; `before` and `after` are parsed."""

    seq: int
    issue_id: str | None
    type: str
    actor: str
    fence: int | None
    before: Record
    after: Record
    at: float


@dataclass(slots=True)
class Tables:
    """Rows by table and key."""

    rows: dict[str, dict[Key, Record]] = field(
        default_factory=lambda: {table: {} for table in KEYS}
    )

    def put(self, table: str, row: Record) -> None:
        """Store a row under its key."""
        self.rows[table][tuple(row[name] for name in KEYS[table])] = row

    def issue(self, event: Event) -> Record:
        """Return the row of the event's issue."""
        return self.rows["issue"][(event.issue_id,)]

    def attempt(self, event: Event) -> Record:
        """Return the attempt of the event's fence."""
        return self.rows["attempt"][(attempt_id(str(event.issue_id), event.fence),)]


def verify(view: View) -> Verification:
    """Rebuild the tables from the events and compare them with the live ones."""
    with view.snapshot() as connection:
        return verify_tables(connection)


def verify_tables(connection: Connection) -> Verification:
    """Do it within the transaction that the caller holds."""
    events = _read_events(connection)
    live = read_tables(connection)
    found, replayed = replay(events)
    found += compare(replayed, live)
    return Verification(
        events=len(events), issues=len(live.rows["issue"]), differences=tuple(found)
    )


def replay(events: Sequence[Event]) -> tuple[list[Difference], Tables]:
    """Rebuild the tables; return with them what is wrong with the log itself."""
    tables = Tables()
    problems: list[Difference] = []
    for number, event in enumerate(events, 1):
        if event.seq != number and not problems:
            problems.append(_problem(event, "seq", number, event.seq))
        apply = _APPLY.get(event.type)
        if apply is None:
            problems.append(_problem(event, "type", "known types alone", event.type))
            continue
        try:
            apply(tables, event)
        except (KeyError, TypeError, ValueError) as error:
            problems.append(_problem(event, "after", f"can not be applied: {error!r}", event.type))
    counts = count_blockers(tables.rows["issue"].values(), tables.rows["dependency"].values())
    for (issue_id,), row in tables.rows["issue"].items():
        row["blocked_by"] = counts.get(issue_id, 0)
    return problems, tables


def read_tables(connection: Connection) -> Tables:
    """Return the live tables."""
    tables = Tables()
    for table in KEYS:
        cursor = connection.execute(f"SELECT * FROM {table}")  # noqa: S608  # constants
        names = [column[0] for column in cursor.description]
        for row in cursor:
            tables.put(table, dict(zip(names, row, strict=True)))
    return tables


def compare(replayed: Tables, live: Tables) -> list[Difference]:
    """Return where the two differ, in the order of tables and keys."""
    found = []
    for table in KEYS:
        ours, theirs = replayed.rows[table], live.rows[table]
        for key in sorted(ours.keys() | theirs.keys()):
            name = " ".join(str(part) for part in key)
            if key not in ours or key not in theirs:
                first, second = (key in ours, key in theirs)
                found.append(
                    Difference(
                        table=table,
                        key=name,
                        column="*",
                        replayed=_PRESENCE[first],
                        live=_PRESENCE[second],
                    )
                )
                continue
            found += _compare_rows(table, name, ours[key], theirs[key])
    return found


def _compare_rows(table: str, key: str, ours: Record, theirs: Record) -> Iterable[Difference]:
    for column, value in theirs.items():
        if (table, column) not in UNLOGGED and ours.get(column) != value:
            yield Difference(
                table=table, key=key, column=column, replayed=ours.get(column), live=value
            )


def _read_events(connection: Connection) -> list[Event]:
    rows = connection.execute(
        "SELECT seq, issue_id, type, actor, fence, before, after, created_at FROM event"
        " ORDER BY seq"
    )
    return [
        Event(seq, issue_id, kind, actor, fence, json.loads(before), json.loads(after), at)
        for seq, issue_id, kind, actor, fence, before, after, at in rows
    ]


def _problem(event: Event, column: str, replayed: object, live: object) -> Difference:
    return Difference(
        table="event", key=str(event.seq), column=column, replayed=replayed, live=live
    )


# What each event does to the tables.


def _create(tables: Tables, event: Event) -> None:
    columns = {name: value for name, value in event.after.items() if name != "labels"}
    tables.put("issue", columns)
    for label in event.after["labels"]:
        tables.put("label", {"issue_id": event.issue_id, "name": label})


def _import(tables: Tables, event: Event) -> None:
    for table, rows in event.after.items():
        for row in rows:
            tables.put(table, dict(row))


def _change(tables: Tables, event: Event) -> None:
    """`before` names the columns that changed; what else `after` holds is detail."""
    _set(tables, event, event.before)


def _set(tables: Tables, event: Event, names: Iterable[str]) -> None:
    issue = tables.issue(event)
    issue |= {name: event.after[name] for name in names}
    issue |= {"updated_at": event.at, "revision": issue["revision"] + 1}


def _claim(tables: Tables, event: Event) -> None:
    _set(tables, event, _CLAIMED)
    issue, detail = tables.issue(event), event.after["attempt"]
    identity = attempt_id(str(event.issue_id), event.fence)
    tables.put(
        "attempt",
        {
            "id": identity,
            "issue_id": event.issue_id,
            "number": event.after["attempts"],
            "fence": event.fence,
            "actor": event.actor,
            "started_at": event.at,
            **detail,
        },
    )
    tables.put(
        "lease",
        {
            "issue_id": event.issue_id,
            "fence": event.fence,
            "attempt_id": identity,
            "holder": event.actor,
            "session": detail["session"],
            "duration_s": event.after["lease_s"],
            "granted_at": event.at,
            "gpus": issue["needs_gpus"],
            "gpu_memory_bytes": issue["needs_gpu_memory_bytes"],
            "pool": event.after.get("pool"),
        },
    )
    if "capacity" in event.after:
        _want_capacity(tables, event.after["capacity"])


def _checkpoint(tables: Tables, event: Event) -> None:
    tables.attempt(event)["handoff"] = event.after["handoff"]


def _end(outcome: AttemptOutcome) -> Callable[[Tables, Event], None]:
    def apply(tables: Tables, event: Event) -> None:
        _change(tables, event)
        if event.fence is None:
            return
        attempt = tables.attempt(event)
        attempt |= {"ended_at": event.at, "outcome": outcome, "error": event.after.get("error")}
        if event.after.get("handoff") is not None:
            attempt["handoff"] = event.after["handoff"]
        del tables.rows["lease"][(event.issue_id,)]

    return apply


def _answer(tables: Tables, event: Event) -> None:
    _change(tables, event)
    if event.after["handoff"] is not None:
        asked = attempt_id(str(event.issue_id), tables.issue(event)["fence"])
        tables.rows["attempt"][(asked,)]["handoff"] = event.after["handoff"]


def _comment(tables: Tables, event: Event) -> None:
    row = event.after | {"issue_id": event.issue_id, "fence": event.fence, "created_at": event.at}
    tables.put("comment", row)


def _add_dependency(tables: Tables, event: Event) -> None:
    row = {"issue_id": event.issue_id, "created_at": event.at, "created_by": event.actor}
    tables.put("dependency", event.after | row)


def _remove_dependency(tables: Tables, event: Event) -> None:
    edge = event.before
    del tables.rows["dependency"][(event.issue_id, edge["depends_on_id"], edge["type"])]


def _add_label(tables: Tables, event: Event) -> None:
    tables.put("label", {"issue_id": event.issue_id, "name": event.after["label"]})


def _remove_label(tables: Tables, event: Event) -> None:
    del tables.rows["label"][(event.issue_id, event.before["label"])]


def _set_capacity(tables: Tables, event: Event) -> None:
    tables.put("capacity", dict(event.after))


def _want_capacity(tables: Tables, pool: Record) -> None:
    row = tables.rows["capacity"][(pool["pool"],)]
    row |= {name: pool[name] for name in ("reserved_for", "passes")}


def _remember(tables: Tables, event: Event) -> None:
    known = tables.rows["memory"].get((event.after["key"],), {"created_at": event.at})
    tables.put("memory", known | event.after | {"actor": event.actor, "updated_at": event.at})


def _forget(tables: Tables, event: Event) -> None:
    del tables.rows["memory"][(event.before["key"],)]


def _supersede(tables: Tables, event: Event) -> None:
    tables.rows["memory"][(event.after["key"],)]["superseded_by"] = event.after["superseded_by"]


_APPLY: dict[str, Callable[[Tables, Event], None]] = {
    EventType.CREATED: _create,
    EventType.IMPORTED: _import,
    EventType.UPDATED: _change,
    EventType.NOTED: _change,
    EventType.REQUEUED: _change,
    EventType.REOPENED: _change,
    EventType.CLAIMED: _claim,
    EventType.CHECKPOINTED: _checkpoint,
    EventType.RELEASED: _end(AttemptOutcome.RELEASED),
    EventType.ASKED: _end(AttemptOutcome.RELEASED),
    EventType.ANSWERED: _answer,
    EventType.FAILED: _end(AttemptOutcome.FAILED),
    EventType.LOST: _end(AttemptOutcome.LOST),
    EventType.CLOSED: _end(AttemptOutcome.CLOSED),
    EventType.COMMENTED: _comment,
    EventType.DEPENDENCY_ADDED: _add_dependency,
    EventType.DEPENDENCY_REMOVED: _remove_dependency,
    EventType.LABEL_ADDED: _add_label,
    EventType.LABEL_REMOVED: _remove_label,
    EventType.REMEMBERED: _remember,
    EventType.FORGOTTEN: _forget,
    EventType.SUPERSEDED: _supersede,
    EventType.CAPACITY_SET: _set_capacity,
    EventType.CAPACITY_WANTED: lambda tables, event: _want_capacity(
        tables, event.after["capacity"]
    ),
}
