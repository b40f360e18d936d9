"""`arcfusion hypotheses`: the next experiments, each falsifiable."""

from typing import Annotated

from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Group, Option

app = Group(help="The next experiments, each falsifiable.", default="list")

NOTHING_YET = "no hypothesis yet: a worker proposes some after its first comparison"


@app.command("list")
def list_(
    everything: Annotated[bool, Option("--all", help="Confirmed and refuted ones too.")] = False,
    json: Json = False,
) -> None:
    """List the hypotheses, the most urgent first."""
    from arcfusion.core import store
    from arcfusion.core.home import find_home
    from arcfusion.experiments.hypotheses import list_hypotheses

    connection = store.connect(find_home())
    try:
        hypotheses = list_hypotheses(connection, is_open=None if everything else True)
    finally:
        connection.close()
    if json:
        print_json({"hypotheses": [hypothesis.to_json() for hypothesis in hypotheses]})
        return
    if not hypotheses:
        print_text(NOTHING_YET)
    for hypothesis in hypotheses:
        issue = f", issue {hypothesis.issue_id}" if hypothesis.issue_id else ""
        print_text(f"{hypothesis.id}  {hypothesis.kind}, {hypothesis.status}{issue}")
        print_text(f"  {hypothesis.statement}")
        print_text(f"  refuted when {hypothesis.kill_criterion}; about {hypothesis.cost_s:.0f} s")
