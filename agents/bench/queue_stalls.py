"""Writers stall for seconds while workers hold claims: no live worker loses one.

Every holder keeps its claim as the real worker does, by `agents.guard` in a thread beside the work,
and others claim all the time, which gives back whatever lease is over.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from arcfusion.agents.bench.queue_crew import WORKER, Crew, Load, describe, fill, temporary_lab
from arcfusion.agents.bench.queue_worker import BEATS_A_LEASE
from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core import store
from arcfusion.core.home import Home
from arcfusion.issues.view import View

# The default lease of 60 s outlasts twelve such stalls and would show nothing. The worker counts
# from before it asked: a renewal that was asked for when a stall began is 5 s old when it is
# granted, and the next one falls due 3.3 s later and may wait 5 s again. It trusts 0.8 leases, so
# with 20 s it has 2.7 s for the queue behind the stall. With 12 s none was lost either, but the
# workers stopped by themselves.
STALL_S, GAP_S, LEASE_S = 5.0, 1.0, 20.0
HOLDERS, SWEEPERS = 8, 2
FULL_S = 20 * 60.0
QUICK_SCALE = 0.15


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What happened meanwhile.

    Attributes:
        stolen: claims of live workers that ended, by the attempts and by what sweepers got.
        stopped: live workers that stopped by themselves, or heard that their claim is lost.
        stalls: how many there were.
        least_left_s: the shortest time to a lease's end that was seen.
        seconds: of each claim of the sweepers.
    """

    stolen: int
    stopped: int
    stalls: int
    least_left_s: float
    seconds: list[float]


def measure(quick: bool) -> Iterator[Row]:
    """Stall the writers; in the full version, also with a lease that can not outlast a stall."""
    scale, duration_s = (QUICK_SCALE, 2.5) if quick else (1.0, FULL_S)
    holders = 3 if quick else HOLDERS
    load = Load()
    found = stall_writers(
        n_holders=holders, lease_s=LEASE_S * scale, scale=scale, duration_s=duration_s, load=load
    )
    detail = (
        f"{holders} workers, lease {LEASE_S * scale:g} s, heartbeat "
        f"{LEASE_S * scale / BEATS_A_LEASE:g} s, {found.stalls} stalls of {STALL_S * scale:g} s in "
        f"{duration_s:g} s, least time left {found.least_left_s:.2f} s; meanwhile "
        f"{describe(found.seconds, 'claims', load)}"
    )
    yield at_least("writer stalls", found.stalls, duration_s / (8 * scale), "stalls", detail)
    yield at_most("claims of live workers stolen", found.stolen, 0, "claims", detail)
    yield at_most("live workers that had to stop", found.stopped, 0, "workers", detail)
    if not quick:
        yield _control(load)


def _control(load: Load) -> Row:
    """Show that stealing would be seen: a lease that is shorter than a stall is not kept."""
    lease_s = 0.8 * STALL_S * QUICK_SCALE
    found = stall_writers(
        n_holders=3, lease_s=lease_s, scale=QUICK_SCALE, duration_s=4.0, load=load
    )
    return at_least(
        "claims stolen when the lease is shorter than a stall (control)",
        found.stolen,
        1,
        "claims",
        f"n=3 lease {lease_s:g} s, {found.stalls} stalls of {STALL_S * QUICK_SCALE:g} s, {load}",
    )


def stall_writers(
    *,
    n_holders: int,
    lease_s: float,
    scale: float,
    duration_s: float,
    load: Load,
    program: Sequence[str] = WORKER,
) -> Outcome:
    """Hold claims through stalls of `STALL_S * scale` for the given time."""
    staller = {"stall_s": STALL_S * scale, "gap_s": GAP_S * scale}
    with temporary_lab() as home:
        fill(home, n_holders)
        with (
            Crew(home, "live", [{"lease_s": lease_s}] * n_holders, program=program) as holders,
            Crew(home, "sweep", [{}] * SWEEPERS) as sweepers,
            Crew(home, "stall", [staller]) as stallers,
        ):
            for crew in (holders, sweepers, stallers):
                crew.hear()
            holders.ask(do="hold")
            sweepers.tell(do="claim")
            stallers.tell(do="stall")
            least_left_s = _watch(home, duration_s, load)
            (stalls,) = stallers.ask(do="stop")
            swept = sweepers.ask(do="stop")
            lost = _count_lost(home)
            stopped = holders.ask(do="stop")
    return Outcome(
        stolen=max(lost, sum(report["stolen"] for report in swept)),
        stopped=sum(bool(report["stopped"]) for report in stopped),
        stalls=stalls["stalls"],
        least_left_s=least_left_s,
        seconds=[second for report in swept for second in report["seconds"]],
    )


def _watch(home: Home, duration_s: float, load: Load) -> float:
    """Wait, and return the shortest time to a lease's end that was seen."""
    least_left_s = float("inf")
    ends_at = time.monotonic() + duration_s
    with View(home) as view:
        while time.monotonic() < ends_at:
            with view.snapshot() as connection:
                (end,) = connection.execute("SELECT min(expires_at) FROM lease").fetchone()
            if end is not None:
                least_left_s = min(least_left_s, end - view.now())
            time.sleep(min(0.1, duration_s / 100))
            load.sample()
    return least_left_s


def _count_lost(home: Home) -> int:
    with closing(store.connect(home)) as connection:
        (lost,) = connection.execute(
            "SELECT count(*) FROM attempt WHERE outcome = 'lost'"
        ).fetchone()
    return int(lost)
