import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcfusion.agents.bench.queue_script import CHECKS, Script
from arcfusion.core.home import Home
from arcfusion.issues.document import IssueDocument, MemoryDocument
from arcfusion.issues.export import export_lines
from arcfusion.issues.lines import read_lines
from arcfusion.issues.queue import Queue
from arcfusion.issues.replay import verify

MakeLab = Callable[[Path], Home]


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
            *("reopen", "add_edge", "remove_edge", "remember", "expire", "answer", "forget"),
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
