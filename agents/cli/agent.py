"""`arcfusion agent run`: a worker that claims issues and brings them to an end."""

from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.options import Parallel, Sandbox, Seed
from arcfusion.agents.cli.output import Actor, Json, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Group, Option
from arcfusion.core.errors import BadInputError

if TYPE_CHECKING:
    from arcfusion.agents.worker import WorkerSettings

app = Group(help="Agents that work on the issues.")

ROLES = ("worker",)


@app.command("run")
def run(
    role: Annotated[str, Option("--role", help="What it does: worker.")] = "worker",
    once: Annotated[bool, Option("--once", help="Stop after one issue.")] = False,
    max_issues: Annotated[
        int | None, Option("--max-issues", min=1, help="Stop after so many issues.")
    ] = None,
    label: Annotated[
        list[str] | None,
        Option("--label", help="Claim only issues with this label. Default: agent-safe."),
    ] = None,
    seed: Seed = 0,
    parallel: Parallel = None,
    sandbox: Sandbox = None,
    pool: Annotated[
        str | None, Option("--pool", help="Whose GPUs are taken. Default: this host's name.")
    ] = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Claim ready issues and work on them: dream, check, train, compare, report.

    Works until nothing is ready. Ctrl-C and SIGTERM give the issue back with a handoff.
    """
    from arcfusion.agents.worker import run_worker
    from arcfusion.core.home import find_home

    if role not in ROLES:
        raise BadInputError(f"unknown role {role!r}: there is {', '.join(ROLES)}")
    settings = worker_settings(
        actor=actor,
        labels=tuple(label or ("agent-safe",)),
        max_issues=1 if once else max_issues,
        seed=seed,
        parallel=parallel,
        sandbox=sandbox,
        pool=pool,
    )
    report = run_worker(find_home(), settings, say=print_note)
    if json:
        print_json({"closed": report.closed, "released": report.released})
        return
    for issue_id, outcome in report.closed.items():
        print_text(f"{issue_id} closed as {outcome}")
    for issue_id, reason in report.released.items():
        print_text(f"{issue_id} given back: {reason}")


def worker_settings(
    *,
    actor: str | None,
    labels: tuple[str, ...],
    max_issues: int | None,
    seed: int,
    parallel: int | None,
    sandbox: str | None,
    pool: str | None = None,
) -> "WorkerSettings":
    """Return the settings of a worker: the flags, else the environment.

    Raises:
        BadInputError: a setting is not allowed.
        SandboxTooWeakError: this machine's sandbox is weaker than what is asked for.
    """
    from arcfusion.agents.confinement import demand_tier
    from arcfusion.agents.machine import find_gpus
    from arcfusion.agents.worker import WorkerSettings
    from arcfusion.core.environment import actor_name, pool_name
    from arcfusion.core.settings import load_settings
    from arcfusion.issues.config import QueueConfig
    from arcfusion.issues.draft import Offer

    environment = load_settings()
    gpus = find_gpus()
    return WorkerSettings(
        actor=actor or actor_name(),
        labels=labels,
        max_issues=max_issues,
        seed=seed,
        parallel=parallel or environment.parallel_runs,
        tier=demand_tier(sandbox),
        queue=QueueConfig(
            lease_s=environment.lease_s,
            heartbeat_s=environment.heartbeat_s,
            max_attempts=environment.max_attempts,
            wip_limit=environment.wip_limit,
        ),
        pool=pool or environment.pool or pool_name(),
        offer=Offer(gpus=gpus.count, gpu_memory_bytes=gpus.memory_bytes),
    )
