"""`arcfusion issue remember`, `recall`, `memories`, `forget`: what is kept beyond one issue."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.issue.options import ALL, Actor, Limit, open_queue, open_view
from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Option

if TYPE_CHECKING:
    from arcfusion.issues.memory import MemoryRecord


def remember(
    text: Annotated[str, Argument(help="What to remember.")],
    key: Annotated[str | None, Option("--key", help="Replaces what has this key.")] = None,
    issue_id: Annotated[str | None, Option("--issue", help="Where it comes from.")] = None,
    supersedes: Annotated[
        str | None, Option("--supersedes", help="The key whose text does not hold any more.")
    ] = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Keep a text for later workers and print its key."""
    with open_queue(actor) as queue:
        kept = queue.remember(text, key=key, issue_id=issue_id, supersedes=supersedes)
    if json:
        print_json({"key": kept})
    else:
        print_text(kept)


def recall(
    query: Annotated[str, Argument(help="Words; without any, the newest.")] = "",
    limit: Limit = 5,
    json: Json = False,
) -> None:
    """Print what is remembered about some words, the best match first."""
    with open_view() as view:
        found = view.recall(query, limit)
    _print(found, as_json=json)


def memories(
    limit: Limit = ALL,
    everything: Annotated[
        bool, Option("--all", help="With what is superseded by something newer.")
    ] = False,
    json: Json = False,
) -> None:
    """List what is remembered, the newest first."""
    with open_view() as view:
        found = view.memories(limit, everything=everything)
    _print(found, as_json=json)


def forget(
    key: Annotated[str, Argument(help="What `issue memories` prints first.")],
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Delete what is remembered under a key."""
    with open_queue(actor) as queue:
        queue.forget(key)
    if json:
        print_json({"key": key})
    else:
        print_text(f"{key} is forgotten")


def _print(found: "Sequence[MemoryRecord]", *, as_json: bool) -> None:
    if as_json:
        print_json([memory.to_json() for memory in found])
        return
    for memory in found:
        old = "" if memory.superseded_by is None else f" (superseded by {memory.superseded_by})"
        print_text(f"{memory.key}: {memory.text}{old}")
