"""kill -9 of holders: their issues are claimed as soon as the lease is over, with what they left.

The queue has no grace time: a lease that is over is given back by the next claim, so the first
claim that begins after the end has to succeed.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from arcfusion.agents.bench.queue_crew import WORKER, Crew, Load, describe, fill, temporary_lab
from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core.home import Home
from arcfusion.issues.errors import AlreadyClaimedError, NothingReadyError
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim
from arcfusion.issues.states import AttemptOutcome, Outcome

KILLS, KILLS_A_WAVE = 200, 20
LEASE_S, GRACE_S = 1.0, 0.0
ONE_CLAIM_S = 1.0  # the bar of a claim's latency
KILL_SPAN_S = 1.0  # a wave is killed at random moments of this time
# The database's clock has milliseconds, and is not the clock of the kills.
CLOCK_S = 0.005


class Kill(NamedTuple):
    """A dead holder and when it was seen dead, in monotonic seconds."""

    number: int
    issue_id: str
    fence: int
    dead_at: float


@dataclass(slots=True)
class Tally:
    """What was seen over all waves.

    Attributes:
        kills: holders that were killed while they held their claim.
        late: claims that began after a lease's end and were refused.
        seconds: from each kill to the next claim of the issue.
        forgotten: next claims without the last checkpoint that was acknowledged.
        wrong: issues whose last two attempts are not the lost one and the running one.
        ended_before: holders whose lease was over before they were killed; those are no kills.
        checkpoints: how many were acknowledged.
    """

    kills: int = 0
    late: int = 0
    seconds: list[float] = field(default_factory=list)
    forgotten: int = 0
    wrong: int = 0
    ended_before: int = 0
    checkpoints: int = 0


def measure(quick: bool) -> Iterator[Row]:
    """Kill holders, wave by wave, and claim what they held."""
    wanted, n_victims, span_s = (4, 4, 0.3) if quick else (KILLS, KILLS_A_WAVE, KILL_SPAN_S)
    tally, load = Tally(), Load()
    generator = random.Random(3)  # noqa: S311  # moments of a test, no secret
    with temporary_lab() as home:
        while tally.kills < wanted and tally.ended_before < wanted:
            kill_wave(home, tally, n_victims=n_victims, span_s=span_s, generator=generator)
            load.sample()
    detail = (
        f"lease {LEASE_S:g} s, no grace; {tally.checkpoints} checkpoints, {tally.ended_before} "
        f"had lost the claim before; {describe(tally.seconds, 'kills', load)}, seed 3"
    )
    yield at_least("kill -9 of holders", tally.kills, wanted, "kills", detail)
    unclaimed = tally.kills - len(tally.seconds)
    yield at_most("kill -9 not claimed again", unclaimed, 0, "issues", detail)
    yield at_most("claims refused after the lease's end", tally.late, 0, "claims", detail)
    yield at_most(
        "kill to next claim: lease + grace + one claim",
        max(tally.seconds, default=float("inf")),
        LEASE_S + GRACE_S + ONE_CLAIM_S,
        "s",
        detail,
    )
    yield at_most("next claims without the last checkpoint", tally.forgotten, 0, "claims", detail)
    yield at_most(
        "issues with other attempts than lost, then held", tally.wrong, 0, "issues", detail
    )


def kill_wave(
    home: Home,
    tally: Tally,
    *,
    n_victims: int,
    span_s: float,
    generator: random.Random,
    program: Sequence[str] = WORKER,
) -> None:
    """Kill that many holders at random moments, and claim each issue when its lease is over."""
    fill(home, n_victims)
    logs = [home.path / f"checkpoints{number}" for number in range(n_victims)]
    settings = [{"lease_s": LEASE_S, "log": str(log), "pause_s": 0.05} for log in logs]
    with Queue(home, "medic") as medic, Crew(home, "hold", settings, program=program) as crew:
        crew.hear()
        held = crew.ask(do="claim")
        started = time.monotonic()
        moments = sorted(generator.uniform(0.1, span_s) for _ in held)
        waiting: list[Kill] = []
        for number, (report, moment) in enumerate(zip(held, moments, strict=True)):
            _claim_due(medic, waiting, logs, tally, until=started + moment)
            crew.kill(number)
            kill = Kill(number, report["issue"], report["fence"], time.monotonic())
            lease = medic.show(kill.issue_id).lease
            if lease is None or lease.fence != kill.fence:
                tally.ended_before += 1
                continue
            tally.kills += 1
            waiting.append(kill)
        _claim_due(medic, waiting, logs, tally, until=float("inf"))
    for log in logs:
        log.unlink()


def _claim_due(
    medic: Queue, waiting: list[Kill], logs: Sequence[Path], tally: Tally, *, until: float
) -> None:
    """Claim the issues of the dead whose lease is over, in order, until the given time or all."""
    while waiting:
        due_at = waiting[0].dead_at + LEASE_S + GRACE_S + CLOCK_S
        if due_at >= until:
            break
        time.sleep(max(0.0, due_at - time.monotonic()))
        claim = _claim_first(medic, waiting[0], tally)
        if claim is None:
            if time.monotonic() > due_at + 2 * LEASE_S:
                waiting.pop(0)
            continue
        kill = next((kill for kill in waiting if kill.issue_id == claim.issue_id), None)
        if kill is None:  # a holder that still lives and could not renew its claim in time
            continue
        waiting.remove(kill)
        tally.seconds.append(time.monotonic() - kill.dead_at)
        _examine(medic, kill, claim, logs[kill.number], tally)
    if until < float("inf"):
        time.sleep(max(0.0, until - time.monotonic()))


def _claim_first(medic: Queue, kill: Kill, tally: Tally) -> Claim | None:
    """Claim by id or next, by turns: at least this kill's lease is over."""
    try:
        return medic.claim(kill.issue_id if kill.number % 2 else None)
    except (AlreadyClaimedError, NothingReadyError):
        tally.late += 1
        return None


def _examine(medic: Queue, kill: Kill, claim: Claim, log: Path, tally: Tally) -> None:
    """Look at what the dead left; the last checkpoint may be one that it heard no answer for."""
    lines = log.read_text().split()
    acknowledged = len(lines) - lines.count("lost")
    tally.checkpoints += acknowledged
    found = 0 if claim.last_handoff is None else int(claim.last_handoff.result)
    tally.forgotten += found not in {acknowledged, acknowledged + 1}
    attempts = medic.show(claim.issue_id).attempts
    outcomes = [(attempt.fence, attempt.outcome) for attempt in attempts[-2:]]
    tally.wrong += outcomes != [(kill.fence, AttemptOutcome.LOST), (claim.fence, None)]
    medic.close(claim.token, Outcome.WONTDO, reason="its holder was killed on purpose")
