"""`arcfusion train TARGET`: one training, in the sandbox, scored by the harness."""

from typing import Annotated

from arcfusion.agents.cli.options import TARGET_HELP, Layers, Protocol, Sandbox, Seed, Width
from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Option
from arcfusion.core.errors import ExitCode


def command(
    target: Annotated[str, Argument(help=TARGET_HELP)],
    protocol: Protocol = "smoke",
    seed: Seed = 0,
    d_model: Width = None,
    layers: Layers = None,
    replica: Annotated[
        int, Option("--replica", min=0, help="Number of a deliberate replication.")
    ] = 0,
    sandbox: Sandbox = None,
    json: Json = False,
) -> None:
    """Train a model once and score it; the same model, protocol and seed is never trained twice.

    Ctrl-C stops it with a checkpoint; the same command goes on from there.
    """
    from arcfusion.agents.cli.progress import watch_runs
    from arcfusion.agents.confinement import demand_tier
    from arcfusion.agents.measurement import Order, load, measure, read_runs
    from arcfusion.core.home import find_home

    home = find_home()
    order = Order(
        targets=(target,),
        protocol=protocol,
        seeds=(seed,),
        d_model=d_model,
        n_layers=layers,
        tier=demand_tier(sandbox),
        parallel=1,
        replica=replica,
    )
    loaded = load(home, order)
    with watch_runs(home) as tick:
        done = measure(home, order, loaded, tick=tick)
    (run,) = read_runs(home, done.run_ids)
    if json:
        print_json(run)
    else:
        print_text(_describe(run))
    if run["outcome"] != "completed":
        raise SystemExit(ExitCode.REFUSED)


def _describe(run: dict[str, object]) -> str:
    metrics = run["metrics"]
    assert isinstance(metrics, dict)
    head = f"{run['id']}: {run['name']}, seed {run['seed']}, {run['outcome']}"
    if run["outcome"] != "completed":
        return f"{head}: {run['reason']}"
    return (
        f"{head}\n  {metrics['bits_per_byte']:.4f} bits per byte, perplexity"
        f" {metrics['perplexity']:.3f}, {metrics['train_seconds']:.1f} s of training,"
        f" {metrics['tokens_per_s']:.0f} tokens/s, {run['parameters']:,} parameters,"
        f" sandbox {run['sandbox_tier']}"
    )
