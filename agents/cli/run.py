"""`arcfusion run`: look at the trainings."""

from typing import Annotated

from arcfusion.agents.cli.output import Json, format_table, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Group, Option
from arcfusion.core.errors import BadInputError

app = Group(help="The trainings of the lab.")


@app.command("list")
def list_runs(
    state: Annotated[str | None, Option("--state", help="Only planned, running or done.")] = None,
    limit: Annotated[int, Option("-n", "--limit", min=1, help="At most so many.")] = 50,
    json: Json = False,
) -> None:
    """List the trainings, the newest first."""
    from arcfusion.core import store
    from arcfusion.core.home import find_home

    if state not in {None, "planned", "running", "done"}:
        raise BadInputError(f"unknown state {state!r}: there is planned, running, done")
    connection = store.connect(find_home())
    try:
        rows = connection.execute(
            "SELECT r.id, r.name, r.seed, r.state, r.outcome, r.protocol_key,"
            " m.value AS bits_per_byte, r.issue_id FROM run r"
            " LEFT JOIN metric m ON m.run_id = r.id AND m.name = 'bits_per_byte'"
            " WHERE r.state = coalesce(?1, r.state)"
            " ORDER BY r.created_at DESC, r.id LIMIT ?2",
            (state, limit),
        ).fetchall()
    finally:
        connection.close()
    if json:
        print_json([dict(row) for row in rows])
    elif not rows:
        print_text("no runs yet: `arcfusion train TARGET` makes one")
    else:
        headers = ("run", "model", "seed", "state", "outcome", "key", "bits/byte", "issue")
        cells = [
            (*tuple(row)[:6], None if row[6] is None else f"{row[6]:.4f}", row[7]) for row in rows
        ]
        print_text(format_table(headers, cells))


@app.command("show")
def show(
    run_id: Annotated[str, Argument(help="Id of the run.")],
    json: Json = False,
) -> None:
    """Show one training: identity, how it ended, its figures."""
    from arcfusion.agents.measurement import read_runs
    from arcfusion.core.home import find_home

    found = read_runs(find_home(), [run_id])
    if not found:
        raise BadInputError(f"unknown run {run_id!r}: `arcfusion run list` has the ids")
    (run,) = found
    if json:
        print_json(run)
        return
    metrics = run.pop("metrics")
    assert isinstance(metrics, dict)
    for name, value in [*run.items(), *sorted(metrics.items())]:
        if value is not None:
            print_text(f"{name:20} {value}")
