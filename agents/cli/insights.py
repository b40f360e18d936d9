"""`arcfusion insights`: what was found, with the runs behind it."""

from typing import Annotated, Literal

from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Group, Option

app = Group(help="What was found: scoped claims with their runs.", default="list")


@app.command("list")
def list_(
    key: Annotated[
        str | None, Option("--key", help="Only claims under this comparability key.")
    ] = None,
    status: Annotated[
        Literal["open", "replicated", "contradicted", "refuted"] | None,
        Option("--status", help="Only this status."),
    ] = None,
    json: Json = False,
) -> None:
    """List the insights, the strongest first."""
    from arcfusion.core import store
    from arcfusion.core.home import find_home
    from arcfusion.experiments.insights import list_insights

    connection = store.connect(find_home())
    try:
        insights = list_insights(connection, protocol_key=key, status=status)
    finally:
        connection.close()
    if json:
        print_json({"insights": [insight.to_json() for insight in insights]})
        return
    if not insights:
        print_text("no insight yet: a comparison over two or more paired seeds makes one")
    for insight in insights:
        print_text(f"{insight.id}  {insight.status}  {insight.claim}")


@app.command("show")
def show(
    insight_id: Annotated[str, Argument(help="The insight's id.")], json: Json = False
) -> None:
    """Show one insight with its scope and run ids."""
    from arcfusion.core import store
    from arcfusion.core.home import find_home
    from arcfusion.experiments.insights import show_insight

    connection = store.connect(find_home())
    try:
        insight = show_insight(connection, insight_id)
    finally:
        connection.close()
    if json:
        print_json(insight.to_json())
        return
    print_text(f"{insight.id}  {insight.status}")
    print_text(insight.claim)
    print_text(f"scope: {insight.scope}")
    print_text(
        f"difference: {insight.effect:+.4f} bits per byte, {100 * insight.confidence:g}% interval "
        f"{insight.low:+.4f} to {insight.high:+.4f}, {insight.n_seeds} paired seeds"
    )
    print_text(f"runs: {', '.join(insight.run_ids)}")
    if insight.related:
        print_text(f"see also: {', '.join(insight.related)}")
