"""This fails when a pool's GPUs are given twice, stay taken, or never reach a large issue."""

import shutil
from contextlib import closing
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcfusion.core import store
from arcfusion.core.errors import ExitCode
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Needs, Offer
from arcfusion.issues.errors import (
    FieldError,
    LeaseConfigError,
    NeedsNotMetError,
    NothingReadyError,
    PoolFullError,
)
from arcfusion.issues.export import export_lines
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.replay import verify
from arcfusion.issues.states import EventType, Outcome

HANDOFF = Handoff(tried="one seed", result="none", next="more")
K = QueueConfig().reserve_after
GIB = 1 << 30


def file(queue: Queue, gpus: int = 0, **fields) -> str:
    needs = Needs(gpus=gpus, gpu_memory_bytes=fields.pop("memory", 0))
    return queue.create(Draft(title="work", needs=needs, **fields)).id


def pool_of(queue: Queue):
    (pool,) = queue.pools()
    return pool


@pytest.mark.parametrize("end", ["close", "release", "fail", "expire"])
def test_gpus_are_free_again_however_the_claim_ends(queue, fake_clock, end):
    queue.set_capacity("host", gpus=2)
    file(queue, 2)
    claim = queue.claim(pool="host")
    assert (pool_of(queue).used, pool_of(queue).free) == (2, 0)
    match end:
        case "close":
            queue.close(claim, Outcome.WONTDO, reason="no")
        case "release":
            queue.release(claim, HANDOFF)
        case "fail":
            queue.fail(claim, HANDOFF, error="x")
        case _:
            fake_clock.pass_s(61)
            queue.sweep()
    assert (pool_of(queue).used, pool_of(queue).free) == (0, 2)


def test_a_claim_that_finds_an_expired_one_takes_its_gpus(queue, fake_clock):
    queue.set_capacity("host", gpus=1)
    file(queue, 1)
    second = file(queue, 1, priority=0)
    first = queue.claim(pool="host")
    assert first.issue_id == second
    with pytest.raises(NothingReadyError, match="0 of 1 GPUs are free in the pool 'host'"):
        queue.claim(pool="host")
    fake_clock.pass_s(61)
    assert queue.claim(pool="host").issue_id == second
    assert pool_of(queue).used == 1


def test_two_workers_share_the_pool_and_other_pools_do_not(queue, rival):
    queue.set_capacity("host", gpus=1)
    queue.set_capacity("other", gpus=1)
    named = file(queue, 1)
    file(queue, 1)
    file(queue, 1)
    rival.claim(named, pool="host")
    with pytest.raises(NothingReadyError):
        queue.claim(pool="host")
    queue.claim(pool="other")
    assert [(pool.pool, pool.used) for pool in queue.pools()] == [("host", 1), ("other", 1)]


def test_an_issue_without_gpus_goes_to_a_full_or_empty_pool(queue):
    queue.set_capacity("host", gpus=0)
    plain = file(queue)
    file(queue, 1, priority=0)
    assert queue.claim(pool="host").issue_id == plain
    assert not pool_of(queue).waiting


def test_what_is_too_large_for_the_pool_or_the_offer_is_never_handed_out(queue):
    queue.set_capacity("host", gpus=4, gpu_memory_bytes=24 * GIB)
    too_many = file(queue, 5)
    too_much = file(queue, 1, memory=25 * GIB)
    two = file(queue, 2)
    for issue_id, words in ((too_many, "needs 5 GPUs"), (too_much, "25 GiB")):
        with pytest.raises(NeedsNotMetError, match=words):
            queue.claim(issue_id, pool="host")
    with pytest.raises(NeedsNotMetError, match="the worker offers 1"):
        queue.claim(two, pool="host", offer=Offer(gpus=1))
    with pytest.raises(NothingReadyError, match="1 GPUs"):
        queue.claim(pool="host", offer=Offer(gpus=1))
    assert queue.claim(pool="host", offer=Offer(gpus=9)).issue_id == two
    with pytest.raises(NothingReadyError):
        queue.claim(pool="host", offer=Offer(gpus=9))


def test_a_named_issue_that_has_to_wait_is_refused_as_retryable(queue):
    queue.set_capacity("host", gpus=2)
    first, second = file(queue, 1), file(queue, 2)
    queue.claim(first, pool="host")
    with pytest.raises(PoolFullError, match="free are 1 of 2") as caught:
        queue.claim(second, pool="host")
    assert caught.value.exit_code == ExitCode.REFUSED
    assert caught.value.retryable


def test_only_the_offer_counts_where_no_pool_is_declared(queue):
    issue_id = file(queue, 2)
    with pytest.raises(NothingReadyError):
        queue.claim(pool="host")
    claim = queue.claim(pool="host", offer=Offer(gpus=2))
    assert (claim.issue_id, queue.pools()) == (issue_id, ())
    lease = queue.show(issue_id).lease
    assert lease is not None
    assert (lease.pool, lease.gpus) == ("host", 2)
    # Declared late, the pool counts what runs there already.
    assert queue.set_capacity("host", gpus=1).used == 2
    assert pool_of(queue).free == 0


def test_minutes_left_pass_over_what_takes_longer(queue):
    long = file(queue, estimated_minutes=90)
    unknown = file(queue)
    with pytest.raises(NeedsNotMetError, match="about 90 minutes, the worker has 60 left"):
        queue.claim(long, offer=Offer(minutes=60))
    assert queue.claim(offer=Offer(minutes=60)).issue_id == unknown
    assert queue.claim(offer=Offer(minutes=90)).issue_id == long


def test_skills_are_compared_as_whole_words(queue):
    needs = Needs(skills=("cuda", "triton 3"))
    issue_id = queue.create(Draft(title="x", needs=needs)).id
    for skills in ((), ("cuda",), ("cuda", "triton"), ("cud", "a", "triton 3")):
        with pytest.raises(NothingReadyError):
            queue.claim(offer=Offer(skills=skills))
    with pytest.raises(NeedsNotMetError, match="skills triton 3"):
        queue.claim(issue_id, offer=Offer(skills=("cuda",)))
    with pytest.raises(FieldError, match="skill"):
        Offer(skills=('", "',))
    assert queue.claim(offer=Offer(skills=("x", "triton 3", "cuda"))).issue_id == issue_id


def test_a_large_issue_is_passed_over_k_times_and_then_the_pool_is_kept_free(queue, fake_clock):
    queue.set_capacity("host", gpus=2)
    file(queue, 1)
    running = queue.claim(pool="host")
    large = file(queue, 2)
    fake_clock.pass_s(1)
    for _ in range(K):
        file(queue, 1)
        ended, running = running, queue.claim(pool="host")
        assert running.issue.needs.gpus == 1
        queue.close(ended, Outcome.WONTDO, reason="no")
    small, plain = file(queue, 1, priority=0), file(queue, 0, priority=4)
    assert (pool_of(queue).waiting, pool_of(queue).passes) == (large, K)
    assert queue.claim(pool="host").issue_id == plain
    with pytest.raises(NothingReadyError, match=f"kept free for {large!r}"):
        queue.claim(pool="host")
    with pytest.raises(PoolFullError, match="kept free"):
        queue.claim(small, pool="host")
    assert [issue.id for issue in queue.ready(pool="host")] == []
    reasons = {issue.id: why for issue, why in queue.unfit(pool="host")}
    assert "free are 1 of 2" in reasons[large][0]
    assert "kept free" in reasons[small][0]
    queue.close(running, Outcome.WONTDO, reason="no")
    assert queue.claim(pool="host", offer=Offer(gpus=2)).issue_id == large
    assert (pool_of(queue).waiting, pool_of(queue).is_reserved) == (None, False)
    assert verify(queue).differences == ()


@pytest.mark.parametrize("end", ["close", "defer", "declare"])
def test_a_pool_is_not_kept_free_for_what_can_not_come(queue, fake_clock, end):
    queue.set_capacity("host", gpus=2)
    large = keep_free(queue, fake_clock)
    small = file(queue, 1)
    match end:
        case "close":
            queue.close(large, Outcome.WONTDO, reason="no")
        case "defer":
            queue.update(large, {"status": "deferred"})
        case _:
            queue.set_capacity("host", gpus=2)
    assert not pool_of(queue).is_reserved
    assert queue.claim(pool="host").issue_id == small


def keep_free(queue: Queue, fake_clock) -> str:
    file(queue, 1)
    queue.claim(pool="host")
    large = file(queue, 2)
    fake_clock.pass_s(1)
    for _ in range(K):
        file(queue, 1)
        queue.close(queue.claim(pool="host"), Outcome.WONTDO, reason="no")
    assert pool_of(queue).is_reserved
    return large


def test_a_worker_that_asks_in_vain_makes_others_wait_too(queue, rival, fake_clock):
    queue.set_capacity("host", gpus=2)
    file(queue, 1, labels=("small",))
    queue.claim(pool="host", labels=("small",))
    large = file(queue, 2)
    fake_clock.pass_s(1)
    with pytest.raises(NothingReadyError):
        rival.claim(pool="host", exclude_labels=("small",))
    assert queue.events()[-1].type == EventType.CAPACITY_WANTED
    count = len(queue.events())
    with pytest.raises(NothingReadyError):
        rival.claim(pool="host", exclude_labels=("small",))
    assert len(queue.events()) == count
    for _ in range(K):
        file(queue, 1, labels=("small",))
        claim = queue.claim(pool="host", labels=("small",))
        queue.close(claim, Outcome.WONTDO, reason="no")
    file(queue, 1, labels=("small",))
    with pytest.raises(NothingReadyError, match=f"kept free for {large!r}"):
        queue.claim(pool="host", labels=("small",))
    assert verify(queue).differences == ()


def test_a_capacity_is_set_in_parts_and_shown(queue):
    with pytest.raises(FieldError, match="number of GPUs"):
        queue.set_capacity("host", gpu_memory_bytes=GIB)
    with pytest.raises(FieldError, match="below 0"):
        queue.set_capacity("host", gpus=-1)
    queue.set_capacity("host", gpus=2)
    queue.set_capacity("host", gpu_memory_bytes=GIB)
    pool = pool_of(queue)
    assert (pool.gpus, pool.gpu_memory_bytes, pool.updated_by) == (2, GIB, "alice")
    assert verify(queue).differences == ()
    with pytest.raises(LeaseConfigError, match="reserve_after"):
        QueueConfig(reserve_after=0)


def test_replay_names_a_capacity_that_the_log_does_not_explain(queue, lab):
    queue.set_capacity("host", gpus=2)
    with closing(store.connect(lab)) as connection:
        connection.execute("UPDATE capacity SET gpus = 3")
    (difference,) = verify(queue).differences
    assert str(difference) == "capacity host, gpus: the log says 2, the table 3"


def test_pools_and_the_leases_on_them_are_exported_and_imported(
    queue, make_lab, tmp_path, fake_clock
):
    from arcfusion.issues.document import IssueDocument, PoolDocument
    from arcfusion.issues.errors import ImportFileError
    from arcfusion.issues.lines import read_lines

    queue.set_capacity("host", gpus=2)
    keep_free(queue, fake_clock)
    lines = list(export_lines(queue))
    documents = list(read_lines(lines, name="x"))
    issues = [one for one in documents if isinstance(one, IssueDocument)]
    pools = [one for one in documents if isinstance(one, PoolDocument)]
    with Queue(make_lab(tmp_path / "copy"), "bob", clock=fake_clock) as other:
        other.import_all(issues, pools=pools)
        assert list(export_lines(other)) == lines
        assert other.pools() == queue.pools()
        assert verify(other).differences == ()
        other.set_capacity("host", gpus=3)
        with pytest.raises(ImportFileError, match="'host' has 3 GPUs here"):
            other.import_all([], pools=pools)


class Job(NamedTuple):
    """A ready issue of the model, in its order."""

    priority: int
    number: int
    id: str
    gpus: int


class Model:
    """One pool: what is handed out next, and for whom it waits."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self.ready: dict[str, Job] = {}
        self.held: dict[str, Job] = {}
        self.taken_elsewhere: dict[str, Job] = {}
        self.waiting: str | None = None
        self.passes = 0

    def claim(self, offered: int | None) -> str | None:
        free = max(self.gpus - sum(job.gpus for job in self.held.values()), 0)
        limit = self.gpus if offered is None else min(offered, self.gpus)
        waiting, passes = self.shown()
        jobs = sorted(self.ready.values())
        fitting = [
            job
            for job in jobs
            if job.gpus <= min(free, limit)
            and (waiting is None or passes < K or job.gpus == 0 or job.id == waiting)
        ]
        blocked = [job for job in jobs if free < job.gpus <= limit]
        if not fitting:
            if waiting is None and blocked:
                self.waiting, self.passes = blocked[0].id, 0
            return None
        chosen = fitting[0]
        self.held[chosen.id] = self.ready.pop(chosen.id)
        if chosen.id == waiting:
            waiting, passes = None, 0
        elif chosen.gpus or waiting is None:
            passed = [job for job in jobs if job in blocked or job.id == waiting]
            if passed and passed[0] < chosen:
                waiting = passed[0].id
                passes += chosen.gpus > 0
        self.waiting, self.passes = waiting, passes
        return chosen.id

    def shown(self) -> tuple[str | None, int]:
        """For whom it waits now; it forgets only at the next claim."""
        return (self.waiting, self.passes) if self.waiting in self.ready else (None, 0)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("file"), st.sampled_from([0, 1, 1, 2, 3, 4]), st.integers(1, 3)),
        st.tuples(st.just("claim"), st.sampled_from([None, None, 1, 2, 9]), st.just(0)),
        st.tuples(st.just("claim"), st.sampled_from([None, 1]), st.just(0)),
        st.tuples(st.sampled_from(["close", "release", "expire"]), st.just(0), st.integers(0, 9)),
        st.tuples(st.just("elsewhere"), st.just(0), st.integers(0, 9)),
    ),
    min_size=10,
    max_size=50,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=OPERATIONS)
def test_the_pool_hands_out_what_the_model_hands_out(
    operations, make_lab, tmp_path_factory, fake_clock
):
    directory = tmp_path_factory.mktemp("model")
    model, claims = Model(3), {}
    config = QueueConfig(lease_s=1e9, heartbeat_s=1)
    with Queue(make_lab(directory / "lab"), "m", clock=fake_clock, config=config) as queue:
        queue.set_capacity("host", gpus=3)
        for number, (kind, amount, choice) in enumerate(operations):
            fake_clock.pass_s(1)
            apply(queue, model, claims, number, kind, amount, choice)
            pool = pool_of(queue)
            assert pool.used == sum(job.gpus for job in model.held.values()) <= 3
            assert (pool.waiting, pool.passes) == model.shown()
        assert verify(queue).differences == ()
        for claim in claims.values():
            queue.release(claim, HANDOFF)
        assert pool_of(queue).used == 0
    shutil.rmtree(directory)


def apply(queue, model, claims, number, kind, amount, choice) -> None:
    held = sorted(claims)
    match kind:
        case "file":
            issue_id = file(queue, amount, priority=choice, max_attempts=1000)
            model.ready[issue_id] = Job(choice, number, issue_id, amount)
        case "claim":
            expected = model.claim(amount)
            try:
                claim = queue.claim(pool="host", offer=Offer(gpus=amount))
            except NothingReadyError:
                assert expected is None
            else:
                assert claim.issue_id == expected
                claims[claim.issue_id] = claim
        case "elsewhere" if model.ready:
            issue_id = sorted(model.ready)[choice % len(model.ready)]
            claims[issue_id] = queue.claim(issue_id, offer=Offer(gpus=9))
            model.taken_elsewhere[issue_id] = model.ready.pop(issue_id)
        case "close" | "release" | "expire" if held:
            issue_id = held[choice % len(held)]
            claim = claims.pop(issue_id)
            job = model.held.pop(issue_id, None) or model.taken_elsewhere.pop(issue_id)
            if kind == "close":
                queue.close(claim, Outcome.WONTDO, reason="no")
                return
            if kind == "release":
                queue.release(claim, HANDOFF)
            else:
                expire(queue, issue_id)
            model.ready[issue_id] = job


def expire(queue: Queue, issue_id: str) -> None:
    with store.write(queue._connection) as connection:
        connection.execute("UPDATE lease SET expires_at = 0 WHERE issue_id = ?", (issue_id,))
    queue.sweep()
