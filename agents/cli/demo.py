"""`arcfusion demo`: a fresh lab, one worker, three issues, the result on screen."""

import tempfile
from pathlib import Path
from typing import Annotated

from arcfusion.agents.cli.agent import worker_settings
from arcfusion.agents.cli.daily import show
from arcfusion.agents.cli.options import Parallel, Sandbox, Seed
from arcfusion.agents.cli.output import Json, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Option


def command(
    directory: Annotated[
        Path | None, Option("--home", help="An empty directory. Default: a temporary one.")
    ] = None,
    plan: Annotated[
        Path | None, Option("--plan", help="The issues. Default: the project's backlog.")
    ] = None,
    seed: Seed = 0,
    parallel: Parallel = None,
    sandbox: Sandbox = None,
    json: Json = False,
) -> None:
    """Make a fresh lab and let a worker do three issues; the same seed gives the same digits."""
    from arcfusion.agents.demo import BACKLOG, N_ISSUES, run_demo, summarise

    settings = worker_settings(
        actor="demo",
        labels=("agent-safe",),
        max_issues=N_ISSUES,
        seed=seed,
        parallel=parallel,
        sandbox=sandbox,
    )
    place = directory or Path(tempfile.mkdtemp(prefix="arcfusion-demo-"))
    result = run_demo(place, settings, plan=plan or BACKLOG, say=print_note)
    summary = summarise(result.home)
    if json:
        print_json(
            {
                **summary,
                "home": str(result.home.path),
                "closed": result.report.closed,
                "released": result.report.released,
                "seconds": result.seconds,
            }
        )
    else:
        show(result.home)
        branches = summary["branches"]
        assert isinstance(branches, list)
        print_text("\nBranches to review:")
        for branch in branches:
            print_text(f"  git -C {place} show {branch}")
        print_text(f"Handoff: {place / 'HANDOFF.md'}")
        print_text(f"\n{len(result.report.closed)} issues closed in {result.seconds:.0f} s")
    if len(result.report.closed) < N_ISSUES:
        raise SystemExit(1)
