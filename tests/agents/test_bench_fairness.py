"""This fails when a proof of the pools or of the order does not see a planted defect."""

import pytest

from arcfusion.agents.bench import queue_capacity, queue_fairness, queue_wip
from arcfusion.issues import capacity, ordering
from arcfusion.issues.fit import Filter
from arcfusion.issues.ordering import Order

# The real sum is over the leases, and so are its mutants.
USED = capacity._USED


def failing(rows) -> set[str]:
    return {row.name for row in rows if not row.holds}


def use_rooms(monkeypatch, used: str) -> None:
    assert USED in capacity._ROOMS
    monkeypatch.setattr(capacity, "_ROOMS", capacity._ROOMS.replace(USED, used))


def test_the_pools_keep_their_bars():
    assert failing(queue_capacity.measure(True)) == set()


def test_a_pool_that_counts_nothing_is_seen(monkeypatch):
    use_rooms(monkeypatch, "0")
    assert "pools over their capacity" in failing(queue_capacity.measure(True))


def test_gpus_that_stay_taken_are_seen(monkeypatch):
    use_rooms(
        monkeypatch,
        "(SELECT coalesce(sum(i.needs_gpus), 0) FROM attempt a JOIN issue i ON i.id = a.issue_id"
        " WHERE a.outcome = 'lost' OR a.outcome IS NULL)",
    )
    assert "GPUs in use after the last claim ended" in failing(queue_capacity.measure(True))


def test_an_offer_that_is_not_read_is_seen(monkeypatch):
    real = Filter.limits
    monkeypatch.setattr(
        Filter, "limits", lambda wanted, room: real(Filter(), room) if room else (99, 0)
    )
    name = "issues too large for pool or offer handed out"
    assert name in failing(queue_capacity.measure(True))


def test_a_pool_that_is_never_kept_free_is_seen(monkeypatch):
    monkeypatch.setattr(capacity, "settle", lambda *_, **__: {})
    assert "small issues handed out past a large one" in failing(queue_capacity.measure(True))


@pytest.fixture
def extent():
    return queue_fairness.QUICK


def test_the_orders_keep_their_bars():
    assert failing(queue_fairness.measure(True)) == set()


def test_the_newest_first_is_seen(monkeypatch, extent, tmp_path):
    monkeypatch.setitem(ordering.KEYS, Order.PRIORITY, ("priority", "created_at DESC", "id"))
    load = queue_fairness.measure_load(tmp_path / "load", extent)
    assert failing(load) == {"wait of a P4 over its share of what P0 left"}
    tiers = queue_capacity.make_lab(tmp_path / "tiers")
    assert "inversions inside a tier" in failing(queue_fairness.measure_inversions(tiers, extent))


def test_a_rule_that_leaves_p4_waiting_while_workers_are_idle_is_seen(
    monkeypatch, extent, tmp_path
):
    real = queue_fairness.Queue.claim

    def claim(queue, *arguments, **options):
        # Hands a P4 out only to every twentieth who asks.
        claim.asked += 1
        issue = queue.ready(1)[0]
        if issue.priority == 4 and claim.asked % 20:
            raise queue_fairness.NotFoundError
        return real(queue, *arguments, **options)

    claim.asked = 0
    monkeypatch.setattr(queue_fairness.Queue, "claim", claim)
    names = failing(queue_fairness.measure_load(tmp_path / "load", extent))
    assert "wait of a P4 over its share of what P0 left" in names


def test_an_order_that_another_process_does_not_share_is_seen(monkeypatch, extent, tmp_path):
    monkeypatch.setitem(ordering.KEYS, Order.PRIORITY, ("priority", "random()"))
    home = queue_capacity.make_lab(tmp_path / "first")
    rows = queue_fairness.measure_copies(home, tmp_path / "second", extent)
    assert failing(rows) == {"places in which a copied database orders otherwise"}


def test_a_second_issue_of_a_session_is_seen(tmp_path):
    home = queue_capacity.make_lab(tmp_path / "race")
    names = failing(queue_wip.measure_wip(home, 1, 60, limit=2))
    assert "claims of a session that held one already" in names
