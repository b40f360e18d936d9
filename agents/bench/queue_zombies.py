"""Workers that are suspended past their lease's end: nothing that they write after it counts.

Each is stopped with SIGSTOP while it holds a claim, for twice the lease; somebody else claims its
issue and keeps it, closes it or releases it, half of them under the very name of the zombie. Then
it wakes and tries every write of a holder.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from arcfusion.agents.bench.queue_crew import (
    WORKER,
    Crew,
    Load,
    Report,
    describe,
    fill,
    temporary_lab,
)
from arcfusion.agents.bench.queue_worker import HANDOFF, complete
from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core.errors import ExitCode
from arcfusion.core.home import Home
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim

ZOMBIES, AT_ONCE = 500, 20
LEASE_S, QUICK_LEASE_S = 1.0, 0.8
REFUSAL = f"ClaimLostError {int(ExitCode.LOST_GUARD)}"


@dataclass(slots=True)
class Tally:
    """What was seen over all rounds.

    Attributes:
        zombies: workers that were suspended and woken.
        answers: what each of their writes got.
        changed: issues that were not the same after the zombie's writes.
        seconds: of each claim that took an issue over.
    """

    zombies: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    seconds: list[float] = field(default_factory=list)


def measure(quick: bool) -> Iterator[Row]:
    """Suspend and wake workers, many at a time."""
    n_zombies, at_once, lease_s = (4, 4, QUICK_LEASE_S) if quick else (ZOMBIES, AT_ONCE, LEASE_S)
    load = Load()
    tally = haunt(n_rounds=n_zombies // at_once, at_once=at_once, lease_s=lease_s, load=load)
    writes = tally.answers.total()
    detail = (
        f"lease {lease_s:g} s, stopped for {2 * lease_s:g} s, {at_once} at once, {writes} writes; "
        f"taken over by {describe(tally.seconds, 'claims', load)}"
    )
    refused = sum(n for name, n in tally.answers.items() if name.split(": ")[1] == REFUSAL)
    others = {name: n for name, n in tally.answers.items() if name.split(": ")[1] != REFUSAL}
    yield at_least("zombies woken", tally.zombies, n_zombies, "workers", detail)
    yield at_most("zombies' writes not refused (exit 13)", writes - refused, 0, "writes",
                  f"{others}; {detail}")  # fmt: skip
    yield at_most("issues changed by a zombie", tally.changed, 0, "issues", detail)


def haunt(
    *, n_rounds: int, at_once: int, lease_s: float, load: Load, program: Sequence[str] = WORKER
) -> Tally:
    """Suspend that many workers at once, round by round, and let each try its writes at last."""
    tally = Tally()
    with temporary_lab() as home, ExitStack() as stack:
        settings = [{"lease_s": lease_s}] * at_once
        crew = stack.enter_context(Crew(home, "haunt", settings, program=program))
        # By turns a stranger, and a second life of the zombie under its own name.
        names = ["medic" if n % 2 else actor for n, actor in enumerate(crew.actors)]
        medics = [stack.enter_context(Queue(home, name)) for name in names]
        crew.hear()
        for _ in range(n_rounds):
            fill(home, at_once)
            held = crew.ask(do="claim")
            crew.stop()
            # Already in the pipe: it is the first thing that the worker reads when it wakes.
            crew.tell(do="write")
            time.sleep(2 * lease_s)
            for number, (medic, report) in enumerate(zip(medics, held, strict=True)):
                _take_over(medic, report, number, tally)
            before = [_look(home, report) for report in held]
            crew.resume()
            for report in crew.hear():
                tally.answers.update(f"{name}: {answer}" for name, answer in report.items())
            tally.zombies += at_once
            tally.changed += sum(
                _look(home, report) != seen for report, seen in zip(held, before, strict=True)
            )
            load.sample()
    return tally


def _take_over(medic: Queue, report: Report, number: int, tally: Tally) -> None:
    """Claim the zombie's issue; by turns keep it, close it or release it."""
    begun = time.perf_counter()
    claim: Claim = medic.claim(report["issue"])
    tally.seconds.append(time.perf_counter() - begun)
    assert claim.fence > report["fence"]
    if number % 3 == 1:
        complete(medic, claim)
    elif number % 3 == 2:
        medic.release(claim, HANDOFF)


def _look(home: Home, report: Report) -> tuple[object, int]:
    """Return all that the lab knows of the issue, and how many events it has."""
    with Queue(home, "looker") as queue:
        return queue.show(report["issue"]), len(queue.events(report["issue"]))
