"""What row locks must do on Postgres that the one writer's lock does on SQLite."""

import dataclasses
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from arcfusion.core.errors import DatabaseBusyError, DatabaseUnreachableError
from arcfusion.core.home import Home
from arcfusion.issues import claims, leases
from arcfusion.issues.claims import Workplace
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.errors import ClaimLostError, NothingReadyError
from arcfusion.issues.fit import Filter
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.replay import verify
from arcfusion.issues.states import EdgeType, Outcome, Status

pytestmark = pytest.mark.postgres

MIXER = Path(__file__).with_name("mixer.py")
HANDOFF = Handoff(tried="a", result="b", next="c")
PROCESSES = 8


@pytest.fixture
def impatient(lab: Home, fake_clock):
    """A queue that says after half a second that it had to wait."""
    with Queue(lab, "bob", clock=fake_clock) as opened:
        opened._connection.execute("SET lock_timeout = '500ms'")
        yield opened


def file(queue: Queue, *ids: str) -> None:
    queue.create_all([Draft(title=name, id=name) for name in ids])


def open_claim(queue: Queue, stack: ExitStack) -> str:
    """Claim the next issue in a transaction that stays open."""
    tx = stack.enter_context(queue._write_one())
    return claims.claim_next(tx, queue.config, Filter(), Workplace()).issue["id"]


def test_a_claim_passes_by_an_open_one(queue, impatient):
    file(queue, "a", "b")
    with ExitStack() as stack:
        assert open_claim(queue, stack) == "a"
        assert impatient.claim().issue_id == "b"


def test_the_passing_by_catches_a_claim_that_waits(queue, impatient):
    file(queue, "a", "b")
    dialect = impatient._connection.dialect
    impatient._connection.dialect = dataclasses.replace(dialect, lock_free_rows=dialect.lock_rows)
    with ExitStack() as stack:
        open_claim(queue, stack)
        with pytest.raises(DatabaseBusyError):
            impatient.claim()


def test_a_claim_waits_for_the_last_issue_rather_than_to_say_that_none_is_ready(queue, impatient):
    file(queue, "a")
    with ExitStack() as stack:
        tx = stack.enter_context(queue._write_one())
        tx.issue_row("a")
        with pytest.raises(DatabaseBusyError) as caught:
            impatient.claim()
        assert (caught.value.exit_code, caught.value.retryable) == (4, True)
    assert impatient.claim().issue_id == "a"


def test_holders_do_not_wait_for_a_structural_write_on_others(queue, impatient):
    file(queue, "a", "b", "c")
    held = impatient.claim("a")
    with queue._write() as tx:
        tx.issue_row("c")
        impatient.heartbeat(held)
        impatient.checkpoint(held, HANDOFF)
        assert impatient.claim("b").fence == 1
        impatient.release(held, HANDOFF)
        with pytest.raises(DatabaseBusyError):
            impatient.update("b", {"priority": 1})


def test_a_sweep_leaves_a_claim_whose_holder_is_writing(queue, impatient, fake_clock):
    file(queue, "a")
    held = queue.claim()
    fake_clock.pass_s(61)
    with queue._write_one() as tx:
        leases.heartbeat(tx, held)
        assert impatient.sweep() == 0
    assert queue.fetch("a").status is Status.IN_PROGRESS


@pytest.mark.parametrize("ending", ["release", "close", "heartbeat"])
def test_a_holder_that_waited_for_the_sweep_is_refused(queue, rival, fake_clock, ending):
    file(queue, "a")
    held = queue.claim()
    writes = {
        "release": lambda: queue.release(held, HANDOFF),
        "close": lambda: queue.close(held, Outcome.WONTDO, reason="x"),
        "heartbeat": lambda: queue.heartbeat(held),
    }
    fake_clock.pass_s(61)
    refused: list[BaseException] = []

    def write() -> None:
        try:
            writes[ending]()
        except ClaimLostError as error:
            refused.append(error)

    zombie = threading.Thread(target=write)
    with rival._write_one() as tx:
        assert leases.sweep(tx) == 1
        zombie.start()
        zombie.join(0.2)
        assert zombie.is_alive()
        tx.write_events()
    zombie.join(10)
    assert len(refused) == 1
    assert rival.fetch("a").losses == 1
    assert rival.claim().fence == held.fence + 1
    assert verify(rival).differences == ()


def test_a_refusal_names_the_state_after_the_wait(queue, rival):
    file(queue, "a")
    held = queue.claim()
    found: list[object] = []
    late = threading.Thread(target=lambda: found.append(rival.claim("a").fence))
    with queue._write_one() as tx:
        leases.release(tx, held, HANDOFF)
        late.start()
        late.join(0.2)
        tx.write_events()
    late.join(10)
    assert found == [2]


def test_text_is_ordered_as_in_sqlite(queue):
    names = ["b", "B", "a-1", "a1", "a_1", "A", "\u00e9", "z"]
    for name in names:
        queue.remember("text", key=f"k{name}")
        queue.create(Draft(title=name, labels=tuple(names)))
    assert list(queue.list()[0].labels) == sorted(names)
    with queue.snapshot() as connection:
        rows = connection.execute("SELECT key FROM memory WHERE key < ? ORDER BY key", ("ka1",))
        assert [key for (key,) in rows] == sorted(f"k{n}" for n in names if n < "a1")


def test_ready_reads_its_index(queue):
    file(queue, "a")
    with queue.snapshot() as connection:
        connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        rows = connection.execute(f"EXPLAIN {claims.next_sql('')}", (0.0,)).fetchall()
    assert "Index Scan using ix_issue_ready" in "\n".join(line for (line,) in rows)


def test_a_queue_goes_on_after_the_server_dropped_its_connection(queue, rival):
    file(queue, "a", "b")
    drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ?"
    with pytest.raises(DatabaseUnreachableError), queue._write() as tx:
        # Its own session too: in the middle of a transaction nothing is tried again.
        tx.run(f"{drop} AND datname = current_database()", "arcfusion")
    assert queue.claim().issue_id == "a"
    assert rival.claim().issue_id == "b"
    with pytest.raises(NothingReadyError):
        rival.claim()


def test_an_interrupted_wait_leaves_nothing_behind(queue, rival):
    file(queue, "a", "b")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with queue._write_one() as tx:
            tx.issue_row("a")
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                rival.claim("a")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rival.claim("a").fence == 1
    assert queue.claim().issue_id == "b"
    assert verify(queue).differences == ()


def mix(
    lab: Home, seconds: float, mode: str, meanwhile: Callable[[], None] = lambda: None
) -> list[tuple[str, str]]:
    """Let processes mix all writes; return what each printed, and why it failed."""
    with Queue(lab, "alice") as queue:
        file(queue, *(f"i{number}" for number in range(12)))
        for number in range(4):
            queue.add_dependency(f"i{number}", Edge(EdgeType.PARENT_CHILD, "i11"))
    mixers = [
        subprocess.Popen(
            [sys.executable, str(MIXER), f"w{number}", str(number), str(seconds), mode],
            cwd=lab.workspace_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        # A process that starts late on a busy machine would meet a server that is not there.
        assert [mixer.stdout.readline() for mixer in mixers] == ["ready\n"] * PROCESSES
        for mixer in mixers:
            mixer.stdin.write("go\n")
            mixer.stdin.flush()
        meanwhile()
        return [mixer.communicate(timeout=seconds + 60) for mixer in mixers]
    finally:
        for mixer in mixers:
            mixer.kill()
            mixer.wait()


def check_mix(lab: Home, outputs: list[tuple[str, str]]) -> tuple[Counter[str], set, set]:
    """Return the errors, the claims that the processes got, and those of the database."""
    # The driver says so itself when the server goes while it closes what is left.
    said = [line for _, why in outputs for line in why.splitlines()]
    assert [line for line in said if not line.startswith("error ignored")] == []
    results = [json.loads(out) for out, _ in outputs]
    errors = Counter[str]()
    for result in results:
        errors.update(result["errors"])
    assert "DatabaseBusyError" not in errors, errors
    claimed = Counter(tuple(pair) for result in results for pair in result["fences"])
    assert max(claimed.values()) == 1
    with Queue(lab, "alice") as queue:
        assert verify(queue).differences == ()
        attempts = {
            (issue.id, attempt.fence)
            for issue in queue.list()
            for attempt in queue.show(issue.id).attempts
        }
    return errors, set(claimed), attempts


def test_all_writes_mixed_neither_lock_each_other_out_nor_lose_anything(lab):
    outputs = mix(lab, 4.0, "queue")
    _, claimed, attempts = check_mix(lab, outputs)
    assert attempts == claimed
    assert sum(json.loads(out)["steps"] for out, _ in outputs) > 20 * PROCESSES


def test_a_crash_of_the_server_loses_no_claim_that_was_granted(lab, postgres_server):
    def crash() -> None:
        with Queue(lab, "alice") as queue:
            before = len(queue.events())
            while len(queue.events()) < before + 50:
                time.sleep(0.05)
        postgres_server.stop()
        postgres_server.start()

    errors, claimed, attempts = check_mix(lab, mix(lab, 2.0, "queue", crash))
    assert errors["DatabaseUnreachableError"] > 0
    # A claim may have been granted without its worker hearing of it: its lease runs out.
    assert claimed <= attempts
    assert len(attempts - claimed) <= PROCESSES


def test_the_mix_catches_events_that_are_numbered_without_waiting(lab):
    failures = [why for _, why in mix(lab, 1.5, "unnumbered") if why]
    assert failures
    # Comments are numbered under the same lock.
    keys = ("event_pkey", "comment_pkey")
    assert all("UniqueViolation" in why and any(key in why for key in keys) for why in failures)
