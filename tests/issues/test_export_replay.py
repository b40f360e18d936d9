import random
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcfusion.core.errors import ArcFusionError
from arcfusion.core.home import Home
from arcfusion.issues.document import IssueDocument, MemoryDocument
from arcfusion.issues.draft import Draft, Edge, Needs
from arcfusion.issues.evidence import Evidence, EvidenceKind
from arcfusion.issues.export import export_lines
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.lines import read_lines
from arcfusion.issues.queue import Queue
from arcfusion.issues.replay import verify
from arcfusion.issues.states import EdgeType, Gate, IssueType, Outcome, Size, Status

RAN = Evidence(kind=EvidenceKind.COMMAND, value="make test", exit_status=0)
SCORE = Evidence(kind=EvidenceKind.METRIC, value="run-1/bpb", number=1.25)
TEXTS = ("plain", 'a "quoted"\nsecond line', "caf\u00e9 \u2028 \U0001f40d", "tab\tend")


MakeLab = Callable[[Path], Home]
CHECKS = {EvidenceKind.METRIC: lambda _: None}


class Script:
    """Runs operations by alice and bob on one lab; refused ones count as operations too."""

    def __init__(self, seed: int, queues: list[Queue], clock) -> None:
        self.random = random.Random(seed)
        self.queues = queues
        self.clock = clock
        self.ids: list[str] = []
        self.claims: list[tuple[Queue, object]] = []
        self.done: dict[str, int] = {}
        self.operations = [
            *([self.create] * 6),
            *([self.claim] * 6),
            *([self.add_edge] * 6),
            *([self.end] * 8),
            *([self.write_as_holder] * 4),
            *([self.edit] * 6),
            *([self.close_unclaimed, self.reopen] * 2),
            *(self.requeue, self.remove_edge, self.remember, self.expire),
        ]

    def run(self, count: int) -> None:
        for _ in range(count):
            self.clock.pass_s(self.random.random() * 3)
            operation = self.random.choice(self.operations)
            try:
                operation(self.random.choice(self.queues))
            except (ArcFusionError, IndexError):
                continue
            self.done[operation.__name__] = self.done.get(operation.__name__, 0) + 1

    def issue(self) -> str:
        return self.random.choice(self.ids)

    def text(self) -> str:
        return self.random.choice(TEXTS)

    def edge(self) -> Edge:
        kind = self.random.choice(list(EdgeType))
        gate = self.random.choice([*Gate, None]) if kind is EdgeType.WAITS_FOR else None
        return Edge(kind, self.issue(), gate)

    def handoff(self) -> Handoff:
        return Handoff(tried=self.text(), result="r", next=self.text(), files=("a.py",))

    def create(self, queue: Queue) -> None:
        number = len(self.ids)
        draft = Draft(
            title=f"issue {number} caf\u00e9",
            description=self.text(),
            priority=self.random.randrange(5),
            type=self.random.choice([*IssueType]),
            size=self.random.choice([*Size, Size.S, Size.M]),
            labels=tuple(self.random.sample(["a", "b", "c"], 2)),
            metadata={"n": number, "x": [1.5, None, "\ud800"]} if number % 3 else {},
            needs=Needs(skills=("python",)) if number % 5 == 0 else Needs(),
            edges=(self.edge(),) if self.ids and number % 2 else (),
            idempotency_key=f"key {number}" if number % 4 == 0 else None,
            due_at=self.clock() + 1 / 3 if number % 3 == 0 else None,
        )
        self.ids.append(queue.create(draft).id)

    def claim(self, queue: Queue) -> None:
        issue_id = self.issue() if self.random.random() < 0.4 else None
        claim = queue.claim(issue_id, offer=Needs(skills=("python",)))
        self.claims.append((queue, claim))

    def end(self, _: Queue) -> None:
        held = self.random.choice(self.claims)
        self.claims.remove(held)
        holder, claim = held
        match self.random.randrange(4):
            case 0:
                status = self.random.choice([Status.OPEN, Status.BLOCKED])
                holder.release(claim, self.handoff(), status=status)
            case 1:
                holder.fail(claim, self.handoff(), error=self.text())
            case 2:
                holder.close(claim, Outcome.DONE, reason="", evidence=[RAN, SCORE])
            case _:
                outcome = self.random.choice([Outcome.FAILED, Outcome.NEGATIVE, Outcome.WONTDO])
                holder.close(
                    claim, outcome, reason=self.text(), evidence=[RAN], handoff=self.handoff()
                )

    def write_as_holder(self, _: Queue) -> None:
        holder, claim = self.random.choice(self.claims)
        match self.random.randrange(4):
            case 0:
                holder.heartbeat(claim)
            case 1:
                holder.checkpoint(claim, self.handoff())
            case 2:
                holder.note(claim.issue_id, self.text(), fence=claim.fence)
            case _:
                holder.comment(claim.issue_id, self.text(), fence=claim.fence)

    def edit(self, queue: Queue) -> None:
        issue_id = self.issue()
        match self.random.randrange(6):
            case 0:
                queue.update(issue_id, {"title": self.text().split("\n")[0], "priority": 1})
            case 1:
                queue.update(issue_id, {"status": self.random.choice(["open", "deferred"])})
            case 2:
                queue.add_label(issue_id, self.random.choice(["a", "d"]))
            case 3:
                queue.remove_label(issue_id, self.random.choice(["a", "d"]))
            case 4:
                queue.update(issue_id, {"metadata": {"k": self.text()}, "not_before": 5})
            case _:
                queue.comment(issue_id, self.text())

    def add_edge(self, queue: Queue) -> None:
        queue.add_dependency(self.issue(), self.edge())

    def remove_edge(self, queue: Queue) -> None:
        issue_id = self.issue()
        edges = queue.show(issue_id).dependencies
        queue.remove_dependency(issue_id, self.random.choice(edges).edge)

    def close_unclaimed(self, queue: Queue) -> None:
        queue.close(self.issue(), Outcome.NEGATIVE, reason="seen", evidence=[RAN])

    def reopen(self, queue: Queue) -> None:
        queue.reopen(self.issue(), "again")

    def requeue(self, queue: Queue) -> None:
        queue.requeue(self.issue(), "again")

    def remember(self, queue: Queue) -> None:
        issue_id = self.random.choice([None, self.issue()])
        queue.remember(self.text(), key=f"m{self.random.randrange(4)}", issue_id=issue_id)

    def expire(self, queue: Queue) -> None:
        self.clock.pass_s(61.0)
        queue.sweep()


@contextmanager
def fresh_queue(make_lab: MakeLab, parent: Path, actor: str, clock):
    """A queue on a new lab; without fsync, which no test here is about."""
    workspace = parent / "lab"
    shutil.rmtree(workspace, ignore_errors=True)
    with Queue(make_lab(workspace), actor, clock=clock, checks=CHECKS) as queue:
        skip_fsync(queue)
        yield queue


def skip_fsync(queue: Queue) -> None:
    if queue.home.database is None:
        queue._connection.execute("PRAGMA synchronous=OFF")


@contextmanager
def played(make_lab: MakeLab, parent: Path, seed: int, count: int, clock):
    with (
        fresh_queue(make_lab, parent, "alice", clock) as alice,
        Queue(alice.home, "bob", clock=clock, checks=CHECKS) as bob,
    ):
        skip_fsync(bob)
        script = Script(seed, [alice, bob], clock)
        script.run(count)
        yield alice, script


def import_lines(queue: Queue, lines: list[str]):
    documents = list(read_lines(lines, name="lab.jsonl"))
    return queue.import_all(
        [one for one in documents if isinstance(one, IssueDocument)],
        [one for one in documents if isinstance(one, MemoryDocument)],
    )


def assert_round_trip(make_lab: MakeLab, parent: Path, queue: Queue, clock) -> None:
    lines = list(export_lines(queue))
    (parent / "copy").mkdir(exist_ok=True)
    with fresh_queue(make_lab, parent / "copy", "carol", clock) as copy:
        done = import_lines(copy, lines)
        assert done.known_ids == ()
        assert list(export_lines(copy)) == lines
        counts = {issue.id: issue.blocked_by for issue in copy.list()}
        assert counts == {issue.id: issue.blocked_by for issue in queue.list()}
        assert verify(copy).differences == ()
        again = import_lines(copy, lines)
        assert (again.new_ids, again.memories) == ((), 0)
        assert len(again.known_ids) == len(counts)


@given(seed=st.integers(0, 2**32))
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_lab_is_exported_and_imported_to_the_same_bytes(make_lab, tmp_path, fake_clock, seed):
    clock = type(fake_clock)()
    with played(make_lab, tmp_path, seed, 150, clock) as (queue, _):
        assert verify(queue).differences == ()
        assert_round_trip(make_lab, tmp_path, queue, clock)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_log_rebuilds_the_tables_after_hundreds_of_operations(
    make_lab, tmp_path, fake_clock, seed
):
    with played(make_lab, tmp_path, seed, 600, fake_clock) as (queue, script):
        assert set(script.done) >= {
            *("create", "claim", "end", "write_as_holder", "edit", "close_unclaimed"),
            *("reopen", "add_edge", "remove_edge", "remember", "expire"),
        }
        found = verify(queue)
        assert found.differences == ()
        assert found.events > 150
        assert found.issues == len(script.ids)


def test_an_imported_lab_goes_on_and_its_log_still_rebuilds_it(make_lab, tmp_path, fake_clock):
    with played(make_lab, tmp_path, 3, 150, fake_clock) as (queue, script):
        lines = list(export_lines(queue))
    (tmp_path / "copy").mkdir()
    with fresh_queue(make_lab, tmp_path / "copy", "alice", fake_clock) as copy:
        import_lines(copy, lines)
        script.queues, script.claims = [copy], []
        script.run(150)
        assert verify(copy).differences == ()
