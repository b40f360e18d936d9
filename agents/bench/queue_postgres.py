"""The race for issues on Postgres: row locks in place of the one writer's lock, fsync on.

The server is this proof's own; where none is installed, the rows are unmeasured.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from arcfusion.agents.bench.postgres_server import (
    PostgresServer,
    ServerUnavailableError,
    missing,
    temporary_server,
)
from arcfusion.agents.bench.queue_claims import Tally, race
from arcfusion.agents.bench.queue_crew import Load, describe
from arcfusion.agents.bench.record import Row, at_most, unmeasured
from arcfusion.core import store
from arcfusion.core.home import DIRECTORY_NAME, Home

WORKERS, ISSUES, SEEDS = 16, 500, 3
NAMES = (
    "Postgres: issues claimed twice, workers' logs",
    "Postgres: issues claimed twice, table of attempts",
    "Postgres: issues not claimed and closed exactly once",
    "Postgres: lock errors surfaced",
    "Postgres: refusals of another kind",
    "Postgres: labs that are not what their log says",
)


def measure(quick: bool) -> Iterator[Row]:
    """Race for issues with several seeds on a server with fsync."""
    lacking = missing()
    if lacking is None:
        try:
            with temporary_server() as server:
                yield from _measure(server, quick=quick)
        except ServerUnavailableError as error:
            lacking = str(error)
    if lacking is not None:
        for name in NAMES:
            yield unmeasured(name, "count", "<= 0", f"{lacking} is missing")


def _measure(server: PostgresServer, *, quick: bool) -> Iterator[Row]:
    n_workers, n_issues, n_seeds = (4, 30, 1) if quick else (WORKERS, ISSUES, SEEDS)
    tally, load = Tally(), Load()
    for seed in range(n_seeds):
        server.execute(f"CREATE DATABASE race{seed}")
        with TemporaryDirectory(prefix="arcfusion-bench-") as name:
            home = Home(Path(name) / DIRECTORY_NAME, server.url(f"race{seed}"))
            home.path.mkdir()
            store.create(home)
            race(home, tally, n_workers=n_workers, n_issues=n_issues, seed=seed)
        load.sample()
    detail = f"{n_workers} processes x {n_issues} issues x {n_seeds} seeds; claims " + describe(
        tally.seconds, "acknowledged", load
    )
    figures = (
        tally.claimed_twice,
        tally.attempts_twice,
        tally.lost,
        tally.busy,
        tally.unexpected,
        tally.damaged,
    )
    for name, figure in zip(NAMES, figures, strict=True):
        yield at_most(name, figure, 0, "count", detail)
