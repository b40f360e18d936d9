"""The queue's proofs: many processes, killed, stopped and stalled."""

from collections.abc import Callable, Iterable

from arcfusion.agents.bench import (
    queue_claims,
    queue_postgres,
    queue_reclaim,
    queue_stalls,
    queue_throughput,
    queue_zombies,
)
from arcfusion.agents.bench.record import Row

GROUPS: dict[str, Callable[[bool], Iterable[Row]]] = {
    "claims": queue_claims.measure,
    "postgres": queue_postgres.measure,
    "throughput": queue_throughput.measure,
    "reclaim": queue_reclaim.measure,
    "stalls": queue_stalls.measure,
    "zombies": queue_zombies.measure,
}
