"""The verb of a pool: what it has, what is in use, and for whom it waits."""

from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.issue.options import Actor, open_queue, open_view
from arcfusion.agents.cli.output import Json, format_table, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Option

if TYPE_CHECKING:
    from arcfusion.issues.capacity import PoolRecord

_GIB = 1 << 30


def capacity(
    pool: Annotated[
        str | None,
        Option("--pool", help="Default: this host's name to set, all pools to show."),
    ] = None,
    gpus: Annotated[int | None, Option("--gpus", help="How many GPUs it has.")] = None,
    gpu_memory_gib: Annotated[
        float | None,
        Option("--gpu-memory-gib", help="Memory of each; issues that need more do not fit."),
    ] = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Show the pools, or set what one has; setting it also ends a reservation there.

    A claim with the pool takes its issue's GPUs until its lease ends. An issue that fits the pool
    but not what is free is passed over 4 times; then GPUs are kept free for it.
    """
    if gpus is None and gpu_memory_gib is None:
        with open_view() as view:
            found = [one for one in view.pools() if pool in {None, one.pool}]
    else:
        found = [_set(pool, gpus, gpu_memory_gib, actor)]
    if json:
        print_json([one.to_json() for one in found])
    elif found:
        _print(found)
    else:
        print_note("no pool is declared: `arcfusion issue capacity --gpus N` declares this host")


def _set(
    pool: str | None, gpus: int | None, gpu_memory_gib: float | None, actor: str | None
) -> "PoolRecord":
    from arcfusion.core.environment import pool_name
    from arcfusion.core.errors import BadInputError

    memory_bytes = None
    if gpu_memory_gib is not None:
        # Above that, bytes do not fit into a column; NaN compares as false.
        if not 0 <= gpu_memory_gib < 1 << 20:
            raise BadInputError(f"--gpu-memory-gib is {gpu_memory_gib!r}: allowed are 0 to 1048575")
        memory_bytes = int(gpu_memory_gib * _GIB)
    with open_queue(actor) as queue:
        return queue.set_capacity(pool or pool_name(), gpus=gpus, gpu_memory_bytes=memory_bytes)


def _print(found: "list[PoolRecord]") -> None:
    rows = [
        (
            one.pool,
            one.gpus,
            one.used,
            one.free,
            f"{one.gpu_memory_bytes / _GIB:g}",
            one.waiting,
            one.passes if one.waiting else None,
            "yes" if one.is_reserved else "no",
        )
        for one in found
    ]
    names = ("POOL", "GPUS", "USED", "FREE", "GIB", "WAITING", "PASSED OVER", "KEPT FREE")
    print_text(format_table(names, rows))
