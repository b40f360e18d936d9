"""`arcfusion issue remember` and `recall`: what workers keep beyond one issue."""

from typing import Annotated

import typer

from arcfusion.agents.cli.issue.options import Actor, Limit, open_queue, open_view
from arcfusion.agents.cli.output import Json, print_json, print_text


def remember(
    text: Annotated[str, typer.Argument(help="What to remember.")],
    key: Annotated[str | None, typer.Option("--key", help="Replaces what has this key.")] = None,
    issue_id: Annotated[str | None, typer.Option("--issue", help="Where it comes from.")] = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Keep a text for later workers and print its key."""
    with open_queue(actor) as queue:
        kept = queue.remember(text, key=key, issue_id=issue_id)
    if json:
        print_json({"key": kept})
    else:
        print_text(kept)


def recall(
    query: Annotated[str, typer.Argument(help="Words; without any, the newest.")] = "",
    limit: Limit = 10,
    json: Json = False,
) -> None:
    """Print what is remembered about some words."""
    with open_view() as view:
        found = view.recall(query, limit)
    if json:
        print_json([memory.to_json() for memory in found])
        return
    for memory in found:
        print_text(f"{memory.key}: {memory.text}")
