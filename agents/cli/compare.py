"""`arcfusion compare A B`: paired trainings, an interval, a verdict."""

import time
from typing import TYPE_CHECKING, Annotated, Any

from arcfusion.agents.cli.options import (
    TARGET_HELP,
    Layers,
    Parallel,
    Protocol,
    Sandbox,
    Seed,
    Width,
)
from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Option
from arcfusion.core.errors import BadInputError, ExitCode
from arcfusion.core.home import Home

if TYPE_CHECKING:
    from arcfusion.experiments.candidate import Candidate


def command(
    baseline: Annotated[str, Argument(help=TARGET_HELP)],
    candidate: Annotated[str, Argument(help="What is compared with the baseline.")],
    protocol: Protocol = "smoke",
    seeds: Annotated[int, Option("--seeds", min=2, max=64, help="How many paired seeds.")] = 4,
    seed: Seed = 0,
    d_model: Width = None,
    layers: Layers = None,
    parallel: Parallel = None,
    sandbox: Sandbox = None,
    json: Json = False,
) -> None:
    """Train both with the same seeds and say whether the candidate is better, worse or neither."""
    from arcfusion.agents.cli.progress import watch_runs
    from arcfusion.agents.confinement import demand_tier
    from arcfusion.agents.measurement import Order, failed_runs, load, measure, read_runs
    from arcfusion.core.home import find_home
    from arcfusion.core.settings import load_settings

    home = find_home()
    order = Order(
        targets=(baseline, candidate),
        protocol=protocol,
        seeds=tuple(range(seed, seed + seeds)),
        d_model=d_model,
        n_layers=layers,
        tier=demand_tier(sandbox),
        parallel=parallel or load_settings().parallel_runs,
    )
    loaded = load(home, order)
    first, second = loaded.candidates
    if first.fingerprint == second.fingerprint:
        raise BadInputError(
            f"{baseline!r} and {candidate!r} build the same net ({first.fingerprint}): "
            "there is nothing to compare"
        )
    with watch_runs(home) as tick:
        done = measure(home, order, loaded, tick=tick)
    failed = failed_runs(read_runs(home, done.run_ids))
    document = _compare(home, first, second, done.protocol.key(), order.seeds)
    if json:
        print_json({**document, "failed_runs": failed})
    else:
        _print(document, first.name, second.name, failed)
    if failed:
        raise SystemExit(ExitCode.REFUSED)


def _compare(
    home: Home, first: "Candidate", second: "Candidate", key: str, seeds: tuple[int, ...]
) -> dict[str, Any]:
    """Store the comparison and its insight; return the comparison's columns."""
    from arcfusion.core import store
    from arcfusion.experiments.comparisons import compare_architectures
    from arcfusion.experiments.insights import record_insight

    with store.session(home) as session:
        comparison = compare_architectures(
            session,
            baseline=first.fingerprint,
            candidate=second.fingerprint,
            protocol_key=key,
            seeds=seeds,
            now=time.time(),
        )
        record_insight(session, comparison, now=time.time())
        return comparison.model_dump()


def _print(
    comparison: dict[str, Any], baseline: str, candidate: str, failed: list[dict[str, object]]
) -> None:
    low, high = comparison["low"], comparison["high"]
    interval = "no interval" if low is None else f"[{low:+.4f}, {high:+.4f}]"
    print_text(
        f"{candidate} is {comparison['verdict']} against {baseline}:"
        f" {comparison['mean_difference']:+.4f} {interval} bits per byte at"
        f" {comparison['confidence']:.0%}, n={comparison['n']} ({comparison['reason']})"
    )
    for run in failed:
        print_text(f"  {run['id']} ({run['name']}): {run['outcome']}: {run['reason']}")
