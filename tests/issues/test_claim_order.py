"""This fails when an order is not total, counts wrongly, or a worker holds more than it may."""

import shutil
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcfusion.agents.bench.queue_wip import measure_wip
from arcfusion.core import store
from arcfusion.core.errors import ExitCode
from arcfusion.issues import ordering
from arcfusion.issues.claims import next_sql
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Edge, Needs, Offer
from arcfusion.issues.errors import (
    DependencyCycleError,
    LeaseConfigError,
    NothingReadyError,
    OrderTooLargeError,
    WipLimitError,
)
from arcfusion.issues.fit import Filter
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.ordering import Order
from arcfusion.issues.queue import Queue
from arcfusion.issues.reading import ready_sql
from arcfusion.issues.states import EdgeType, Outcome

HANDOFF = Handoff(tried="one seed", result="none", next="more")


def file(queue: Queue, *targets: str, kind: EdgeType = EdgeType.BLOCKS, **fields) -> str:
    edges = tuple(Edge(kind, target) for target in targets)
    return queue.create(Draft(title="work", edges=edges, **fields)).id


def ready(queue: Queue, order: Order) -> list[str]:
    return [issue.id for issue in queue.ready(order=order)]


def test_the_three_orders_differ_as_they_say(queue, fake_clock):
    old = file(queue, priority=4)
    fake_clock.pass_s(1)
    wanted = file(queue, priority=3)
    fake_clock.pass_s(1)
    urgent = file(queue, priority=0)
    middle = file(queue, wanted)
    file(queue, middle)
    assert ready(queue, Order.PRIORITY) == [urgent, wanted, old]
    assert ready(queue, Order.OLDEST) == [old, wanted, urgent]
    assert ready(queue, Order.UNBLOCKS) == [wanted, urgent, old]
    with Queue(queue.home, "bob", clock=fake_clock) as other:
        assert [other.claim(order=order).issue_id for order in Order] == [urgent, old, wanted]


def test_equal_weights_fall_back_to_priority_age_and_id(queue):
    drafts = [Draft(title="x", priority=priority) for priority in (2, 1, 2)]
    first, urgent, last = (issue.id for issue, _ in queue.create_all(drafts))
    for issue_id in (first, urgent, last):
        file(queue, issue_id)
    assert ready(queue, Order.UNBLOCKS) == [urgent, first, last]


def test_who_waits_through_parents_and_for_children_is_counted_once(queue):
    root = file(queue)
    epic = file(queue, root)
    child = queue.create(Draft(title="c", edges=(Edge(EdgeType.PARENT_CHILD, epic),))).id
    file(queue, root, child)
    file(queue, epic, kind=EdgeType.WAITS_FOR)
    file(queue, root, kind=EdgeType.RELATED)
    with closing(store.connect(queue.home)) as connection:
        weights = ordering.count_waiting(connection)
    # The epic, its child, who waits for root and the child, and who waits for the epic's children.
    assert weights[root] == 4
    assert weights[child] == 2
    assert weights[epic] == 3


def test_a_closed_issue_waits_for_nothing_any_more(queue):
    first, second = file(queue), file(queue, priority=0)
    waiter = file(queue, first)
    assert ready(queue, Order.UNBLOCKS) == [first, second]
    queue.close(waiter, Outcome.WONTDO, reason="no")
    assert ready(queue, Order.UNBLOCKS) == [second, first]


def test_a_queue_with_too_many_dependencies_is_refused_and_not_guessed(queue, monkeypatch):
    monkeypatch.setattr(ordering, "MAX_EDGES", 1)
    target = file(queue)
    file(queue, target)
    assert ready(queue, Order.UNBLOCKS)[0] == target
    file(queue, target)
    with pytest.raises(OrderTooLargeError, match="more than 1 dependencies"):
        queue.claim(order=Order.UNBLOCKS)
    assert queue.claim().issue_id == target


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30),
    closed=st.sets(st.integers(0, 11), max_size=4),
)
def test_the_weights_are_those_of_a_search_from_each_issue(
    pairs, closed, make_lab, tmp_path_factory, fake_clock
):
    directory = tmp_path_factory.mktemp("weights")
    with Queue(make_lab(directory / "lab"), "m", clock=fake_clock) as queue:
        ids = [queue.create(Draft(title="x")).id for _ in range(12)]
        kept = set()
        for waiter, target in pairs:
            try:
                queue.add_dependency(ids[waiter], Edge(EdgeType.BLOCKS, ids[target]))
            except DependencyCycleError:
                continue
            kept.add((waiter, target))
        for number in closed:
            queue.close(ids[number], Outcome.WONTDO, reason="no")
        with closing(store.connect(queue.home)) as connection:
            weights = ordering.count_waiting(connection)
        open_pairs = {(a, b) for a, b in kept if a not in closed and b not in closed}
        expected = {ids[n]: len(search(n, open_pairs)) for n in {b for _, b in open_pairs}}
        assert weights == expected
    shutil.rmtree(directory)


def search(target: int, pairs: set[tuple[int, int]]) -> set[int]:
    found: set[int] = set()
    ahead = [target]
    while ahead:
        node = ahead.pop()
        new = {waiter for waiter, other in pairs if other == node} - found
        found |= new
        ahead += new
    return found


@pytest.mark.sqlite
@pytest.mark.parametrize("order", [Order.PRIORITY, Order.OLDEST])
@pytest.mark.parametrize("make", [next_sql, ready_sql])
def test_each_order_that_the_database_sorts_has_its_index(lab, order, make):
    wanted = Filter(offer=Offer(gpus=1, skills=("x",), minutes=5), order=order)
    condition, values = wanted.condition()
    parameters = [0.0, *values, *([10] if make is ready_sql else [])]
    with closing(store.connect(lab)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {make(condition, order=order)}", parameters)
        steps = [row["detail"] for row in plan]
    index = {Order.PRIORITY: "ix_issue_ready", Order.OLDEST: "ix_issue_oldest"}[order]
    assert index in steps[0]
    assert not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.parametrize("order", list(Order))
def test_every_order_counts_what_it_passes_over(queue, fake_clock, order):
    queue.set_capacity("host", gpus=2)
    running = file(queue, needs=Needs(gpus=1))
    queue.claim(running, pool="host")
    large = file(queue, needs=Needs(gpus=2), priority=1)
    file(queue, large)
    fake_clock.pass_s(1)
    for _ in range(queue.config.reserve_after):
        small = file(queue, needs=Needs(gpus=1), priority=1)
        claim = queue.claim(pool="host", order=order)
        assert claim.issue_id == small
        queue.close(claim, Outcome.WONTDO, reason="no")
    file(queue, needs=Needs(gpus=1), priority=1)
    with pytest.raises(NothingReadyError, match="kept free"):
        queue.claim(pool="host", order=order)


# Work in progress.


def test_a_session_that_holds_an_issue_gets_no_other(lab, fake_clock):
    with Queue(lab, "alice", session="s1", clock=fake_clock) as queue:
        first, second = file(queue), file(queue)
        claim = queue.claim()
        for target in (None, second):
            with pytest.raises(WipLimitError, match=f"works on {first} already") as caught:
                queue.claim(target)
            assert caught.value.exit_code == ExitCode.REFUSED
        assert queue.claim(first).fence == claim.fence
        queue.release(claim, HANDOFF)
        assert queue.claim(second).issue_id == second


def test_the_limit_is_of_the_actor_in_its_session(lab, fake_clock):
    with Queue(lab, "alice", session="s1", clock=fake_clock) as queue:
        for _ in range(6):
            file(queue)
        queue.claim()
        for actor, session in (("alice", "s2"), ("bob", "s1"), ("alice", None), ("alice", None)):
            with Queue(lab, actor, session=session, clock=fake_clock) as other:
                other.claim()


def test_a_claim_that_ran_out_does_not_count(lab, fake_clock):
    with Queue(lab, "alice", session="s1", clock=fake_clock) as queue:
        file(queue)
        file(queue)
        queue.claim()
        fake_clock.pass_s(61)
        queue.claim()


def test_an_explicit_limit_holds_without_a_session_too(lab, fake_clock):
    config = QueueConfig(wip_limit=2)
    with Queue(lab, "alice", clock=fake_clock, config=config) as queue:
        for _ in range(3):
            file(queue)
        queue.claim()
        queue.claim()
        with pytest.raises(WipLimitError, match="allowed are 2"):
            queue.claim()
    with pytest.raises(LeaseConfigError, match="wip_limit"):
        QueueConfig(wip_limit=0)


def test_processes_that_race_keep_to_the_limit_and_to_the_pool(lab):
    rows = list(measure_wip(lab, 3, 12, limit=1))
    assert [row.name for row in rows if not row.holds] == []
