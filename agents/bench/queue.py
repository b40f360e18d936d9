"""The queue's proofs: many processes; kills, stops, stalls and power cuts; models; times."""

from collections.abc import Callable, Iterable

from arcfusion.agents.bench import (
    queue_capacity,
    queue_claims,
    queue_context,
    queue_exchange,
    queue_fairness,
    queue_graph,
    queue_idempotency,
    queue_killpoints,
    queue_labels,
    queue_model,
    queue_postgres,
    queue_powercut,
    queue_reclaim,
    queue_replay,
    queue_stalls,
    queue_startup,
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
    "powercut": queue_powercut.measure,
    "killpoints": queue_killpoints.measure,
    "model": queue_model.measure,
    "graph": queue_graph.measure,
    "replay": queue_replay.measure,
    "idempotency": queue_idempotency.measure,
    "capacity": queue_capacity.measure,
    "fairness": queue_fairness.measure,
    "labels": queue_labels.measure,
    "context": queue_context.measure,
    "startup": queue_startup.measure,
    "exchange": queue_exchange.measure,
}
