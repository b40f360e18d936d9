"""`arcfusion issue dep` and `arcfusion issue label`."""

from typing import Annotated

from arcfusion.agents.cli.issue.options import Actor, IssueId, open_queue, open_view
from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Group, Option

dep_app = Group(help="What an issue depends on.")
label_app = Group(help="Words on an issue.")

DependsOn = Annotated[str, Argument(metavar="DEPENDS_ON", help="What it depends on.")]
Label = Annotated[str, Argument(help="One word.")]
EdgeKind = Annotated[
    str,
    Option(
        "--type",
        "-t",
        help="blocks, conditional-blocks, waits-for, parent-child, related, discovered-from, "
        "supersedes or duplicates.",
    ),
]
GateOption = Annotated[
    str | None, Option("--gate", help="For waits-for: all-children or any-children.")
]


@dep_app.command("add")
def add(
    issue_id: IssueId,
    depends_on: DependsOn,
    kind: EdgeKind = "blocks",
    gate: GateOption = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Make ID depend on DEPENDS_ON, and say so in a sentence."""
    from arcfusion.issues.draft import Edge, parse_closed
    from arcfusion.issues.states import EdgeType, Gate

    waits = None if gate is None else parse_closed("gate", gate, Gate)
    edge = Edge(parse_closed("dependency type", kind, EdgeType), depends_on, waits)
    with open_queue(actor) as queue:
        said = queue.add_dependency(issue_id, edge)
    _print(issue_id, depends_on, kind, said, as_json=json)


@dep_app.command("remove")
def remove(
    issue_id: IssueId,
    depends_on: DependsOn,
    kind: EdgeKind = "blocks",
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Remove a dependency."""
    from arcfusion.issues.draft import Edge, parse_closed
    from arcfusion.issues.states import EdgeType

    edge = Edge(parse_closed("dependency type", kind, EdgeType), depends_on)
    with open_queue(actor) as queue:
        queue.remove_dependency(issue_id, edge)
    said = f"{issue_id} does not depend on {depends_on} any more ({kind})"
    _print(issue_id, depends_on, kind, said, as_json=json)


@dep_app.command("list")
def list_edges(issue_id: IssueId, json: Json = False) -> None:
    """List what ID depends on and what depends on it, in sentences."""
    from arcfusion.issues.graph import sentence

    with open_view() as view:
        detail = view.show(issue_id)
    edges = (*detail.dependencies, *detail.dependents)
    if json:
        print_json(
            [
                {
                    "issue_id": edge.issue_id,
                    "depends_on_id": edge.depends_on_id,
                    "type": edge.type,
                    "gate": edge.gate,
                    "is_blocking": edge.is_blocking,
                    "sentence": sentence(edge.issue_id, edge.edge),
                }
                for edge in edges
            ]
        )
        return
    for edge in edges:
        held = " (holds it back)" if edge.is_blocking else ""
        print_text(f"{sentence(edge.issue_id, edge.edge)}{held}")


@label_app.command("add")
def add_label(issue_id: IssueId, label: Label, actor: Actor = None, json: Json = False) -> None:
    """Put a label on an issue."""
    with open_queue(actor) as queue:
        issue = queue.add_label(issue_id, label)
    _print_labels(issue.id, issue.labels, as_json=json)


@label_app.command("remove")
def remove_label(issue_id: IssueId, label: Label, actor: Actor = None, json: Json = False) -> None:
    """Take a label off an issue."""
    with open_queue(actor) as queue:
        issue = queue.remove_label(issue_id, label)
    _print_labels(issue.id, issue.labels, as_json=json)


def _print(issue_id: str, depends_on: str, kind: str, said: str, *, as_json: bool) -> None:
    if as_json:
        fields = {"issue_id": issue_id, "depends_on_id": depends_on, "type": kind}
        print_json(fields | {"sentence": said})
    else:
        print_text(said)


def _print_labels(issue_id: str, labels: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        print_json({"id": issue_id, "labels": [*labels]})
    else:
        print_text(f"{issue_id}: {', '.join(labels) or 'no labels'}")
