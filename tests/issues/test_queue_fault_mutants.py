"""This fails when a proof of the queue does not see the defect that it is there to see."""

from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from arcfusion.agents.bench import queue_powercut, queue_replay
from arcfusion.agents.bench.graph_play import play
from arcfusion.agents.bench.queue_graph import race
from arcfusion.agents.bench.queue_killpoints import inject
from arcfusion.agents.bench.queue_machine import explore
from arcfusion.agents.bench.queue_powercut import cut_everywhere, record
from arcfusion.agents.bench.queue_script import copy_lab, in_memory
from arcfusion.core.home import Home
from arcfusion.issues import graph, leases, replay
from arcfusion.issues.states import EventType

pytestmark = pytest.mark.sqlite


@pytest.mark.parametrize(("synchronous", "loses"), [("", False), ("NORMAL", True)])
def test_a_power_cut_loses_commits_only_without_their_sync(
    lab: Home, synchronous: str, loses: bool
) -> None:
    tally = cut_everywhere(record(lab, 3, synchronous=synchronous))
    assert (tally.lost > 0) == loses
    assert tally.broken == []


def test_without_apsw_the_power_cut_is_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_powercut, "find_spec", lambda _: None)
    (row,) = queue_powercut.measure(quick=True)
    assert (row.value, row.holds) == (None, False)
    assert "apsw" in row.detail


def test_a_kill_shows_an_acknowledgement_before_the_commit(lab: Home) -> None:
    with in_memory() as directory:
        tally = inject(lab, directory, 1, planted="early")
    assert tally["lost"]
    assert (tally["broken"], tally["stuck"]) == ([], [])


def test_a_kill_shows_a_write_without_a_transaction(lab: Home) -> None:
    with in_memory() as directory:
        assert inject(lab, directory, 1, planted="unguarded")["broken"]


def forget(statement: str, kind: str) -> str:
    assert f"'{kind}'" in statement
    return statement.replace(f"'{kind}'", "'forgotten'")


@pytest.mark.parametrize("kind", ["blocks", "conditional-blocks", "waits-for", "parent-child"])
def test_the_oracle_sees_a_counter_that_ignores_a_type(
    lab: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(graph, "_COUNT", forget(graph._COUNT, f"{kind}"))
    assert play(lab, tmp_path / "play", 150).wrong_counts


def test_the_oracle_sees_a_search_for_circles_that_ignores_a_type(
    lab: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_SUCCESSORS", "_PREDECESSORS"):
        monkeypatch.setattr(graph, name, forget(getattr(graph, name), "conditional-blocks"))
    assert play(lab, tmp_path / "play", 150).wrong_cycles


def test_of_two_writers_that_close_a_circle_one_is_refused(lab: Home) -> None:
    assert race(lab, 3) == []


def test_the_replay_sees_an_event_that_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    read = replay._read_events
    monkeypatch.setattr(replay, "_read_events", lambda connection: read(connection)[:-1])
    rows = {row.name: row for row in islice(queue_replay.measure(quick=True), 2)}
    assert not rows["replay: values that the log does not rebuild"].holds


def test_the_log_sees_a_heartbeat_that_writes_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    beat = leases.heartbeat

    def talkative(tx, holding):
        tx.log(EventType.NOTED, holding.issue_id)
        return beat(tx, holding)

    monkeypatch.setattr(leases, "heartbeat", talkative)
    rows = {row.name: row for row in queue_replay.measure(quick=True)}
    assert not rows["replay: events of heartbeats"].holds


@pytest.mark.parametrize(
    ("name", "mutant"),
    [("sweep", lambda _: 0), ("guard", lambda *_: {"attempt_id": "none"})],
)
def test_the_model_sees_a_verb_that_does_less(
    lab: Home, monkeypatch: pytest.MonkeyPatch, name: str, mutant: object
) -> None:
    monkeypatch.setattr(leases, name, mutant)
    with pytest.raises((AssertionError, ExceptionGroup)):
        explore(partial(copy_lab, lab), seed=1, num_examples=40, num_steps=40, shrink=False)
