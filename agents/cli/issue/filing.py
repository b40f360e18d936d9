"""The verbs that file and edit: create, update, comment, note, reopen, requeue, import."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.issue.options import (
    Actor,
    IssueId,
    OptionalFence,
    open_queue,
    parse_edge,
    parse_metadata,
    parse_moment,
    parse_needs,
    parse_priority,
    split_labels,
)
from arcfusion.agents.cli.output import Json, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Argument, Option
from arcfusion.core.errors import BadInputError

if TYPE_CHECKING:
    from arcfusion.issues.draft import Draft, Edge
    from arcfusion.issues.draft import Json as JsonValue
    from arcfusion.issues.record import IssueRecord

Reason = Annotated[str, Option("--reason", "-r", help="Why.")]
Text = Annotated[str, Argument(help="What to say.")]
Title = Annotated[str, Argument(help="One line.")]
NewTitle = Annotated[str | None, Option("--title", help="One line.")]
Description = Annotated[str | None, Option("--description", "-d", help="What and why.")]
Design = Annotated[str | None, Option("--design", help="How.")]
Acceptance = Annotated[str | None, Option("--acceptance", help="When it is done.")]
Notes = Annotated[str, Option("--notes", help="What was seen so far.")]
Type = Annotated[str, Option("--type", "-t", help="bug, feature, task, epic, spike, ...")]
NewType = Annotated[str | None, Option("--type", "-t", help="bug, feature, task, ...")]
Priority = Annotated[str, Option("--priority", "-p", help="0 (most urgent) to 4.")]
NewPriority = Annotated[str | None, Option("--priority", "-p", help="0 to 4.")]
SizeOption = Annotated[str, Option("--size", help="S, M, L or XL.")]
NewSize = Annotated[str | None, Option("--size", help="S, M, L or XL.")]
NewStatus = Annotated[str | None, Option("--status", "-s", help="open, blocked or deferred.")]
Minutes = Annotated[int | None, Option("--minutes", min=0, help="Estimate.")]
Owner = Annotated[str | None, Option("--owner", help="Who answers for it.")]
Words = Annotated[
    list[str] | None, Option("--label", "-l", help="A word; repeat it, or use commas.")
]
Deps = Annotated[
    list[str] | None,
    Option("--deps", help="It depends on ID; TYPE:ID for another type than blocks."),
]
Parent = Annotated[str | None, Option("--parent", help="It is part of ID.")]
NeedsOption = Annotated[
    list[str] | None,
    Option("--needs", help="gpus=N, gpu_memory_gib=X or skill=WORD; repeat it."),
]
Metadata = Annotated[str, Option("--metadata", help="A JSON object.")]
NewMetadata = Annotated[str | None, Option("--metadata", help="Merged into it.")]
ExternalRef = Annotated[str | None, Option("--external-ref", help="Its name elsewhere.")]
IdempotencyKey = Annotated[
    str | None, Option("--idempotency-key", help="The same key files it once.")
]
Replicate = Annotated[
    bool, Option("--replicate", help="File the same experiment again, as its next replica.")
]
NotBefore = Annotated[str | None, Option("--not-before", help="Nobody claims it before this time.")]


def create(
    title: Title,
    description: Description = None,
    issue_type: Type = "task",
    priority: Priority = "2",
    labels: Words = None,
    design: Design = None,
    acceptance: Acceptance = None,
    notes: Notes = "",
    size: SizeOption = "M",
    minutes: Minutes = None,
    owner: Owner = None,
    deps: Deps = None,
    parent: Parent = None,
    needs: NeedsOption = None,
    metadata: Metadata = "{}",
    external_ref: ExternalRef = None,
    idempotency_key: IdempotencyKey = None,
    replicate: Replicate = False,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """File an issue and print its id."""
    from arcfusion.issues.draft import Draft, parse_closed
    from arcfusion.issues.states import IssueType, Size

    fields = parse_metadata(metadata)
    draft = Draft(
        title=title,
        description=description or "",
        design=design or "",
        acceptance=acceptance or "",
        notes=notes,
        type=parse_closed("type", issue_type, IssueType),
        priority=parse_priority(priority),
        size=parse_closed("size", size, Size),
        estimated_minutes=minutes,
        owner=owner,
        labels=split_labels(labels),
        metadata=fields,
        needs=parse_needs(needs),
        edges=_edges(deps, parent),
        external_ref=external_ref,
        idempotency_key=idempotency_key,
        experiment=_identify(fields, replicate),
        replicate=replicate,
    )
    _file(draft, actor, as_json=json)


def _identify(metadata: "dict[str, JsonValue]", replicate: bool) -> str | None:
    """Return the fingerprint of the experiment that the metadata ask for."""
    from arcfusion.agents.fingerprint import fingerprint

    found = fingerprint(metadata) if "study" in metadata else None
    if replicate and found is None:
        raise BadInputError("--replicate repeats a comparison: give its study in --metadata")
    return found


def _file(draft: "Draft", actor: str | None, *, as_json: bool) -> None:
    from arcfusion.issues.graph import sentence

    with open_queue(actor) as queue:
        ((issue, is_new),) = queue.create_all([draft])
    if not is_new:
        print_note(f"{issue.id} is the same and was filed before: nothing was written")
    for edge in draft.edges if is_new else ():
        print_note(sentence(issue.id, edge))
    _print(issue, issue.id, as_json=as_json)


def _edges(deps: list[str] | None, parent: str | None) -> "tuple[Edge, ...]":
    from arcfusion.issues.draft import Edge
    from arcfusion.issues.states import EdgeType

    edges = [parse_edge(text) for text in split_labels(deps)]
    if parent is not None:
        edges.append(Edge(EdgeType.PARENT_CHILD, parent))
    return tuple(edges)


def update(
    issue_id: IssueId,
    title: NewTitle = None,
    description: Description = None,
    design: Design = None,
    acceptance: Acceptance = None,
    status: NewStatus = None,
    priority: NewPriority = None,
    issue_type: NewType = None,
    size: NewSize = None,
    minutes: Minutes = None,
    owner: Owner = None,
    metadata: NewMetadata = None,
    not_before: NotBefore = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Change fields of an issue; those that are not named stay."""
    named: dict[str, JsonValue | None] = {
        "title": title,
        "description": description,
        "design": design,
        "acceptance": acceptance,
        "status": status,
        "priority": None if priority is None else parse_priority(priority),
        "type": issue_type,
        "size": size,
        "estimated_minutes": minutes,
        "owner": owner,
        "metadata": None if metadata is None else parse_metadata(metadata),
        "not_before": None if not_before is None else parse_moment(not_before),
    }
    fields = {name: value for name, value in named.items() if value is not None}
    if not fields:
        raise BadInputError("nothing to change: `arcfusion issue update --help` lists the fields")
    with open_queue(actor) as queue:
        issue = queue.update(issue_id, fields)
    _print(issue, f"{issue.id} changed: {', '.join(fields)}", as_json=json)


def comment(
    issue_id: IssueId,
    text: Text,
    fence: OptionalFence = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Say something about an issue; with a fence only while the claim holds."""
    with open_queue(actor) as queue:
        added = queue.comment(issue_id, text, fence=fence)
    if json:
        print_json(added.to_json())
    else:
        print_text(f"comment {added.id} on {issue_id}")


def note(
    issue_id: IssueId,
    text: Text,
    fence: OptionalFence = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Append to an issue's notes; a claimed one needs the fence."""
    with open_queue(actor) as queue:
        issue = queue.note(issue_id, text, fence=fence)
    _print(issue, f"{issue.id} noted", as_json=json)


def answer(issue_id: IssueId, text: Text, actor: Actor = None, json: Json = False) -> None:
    """Answer what an issue asks a person: it is open again, and the next claim has the answer."""
    with open_queue(actor) as queue:
        issue = queue.answer(issue_id, text)
    _print(issue, f"{issue.id} is open", as_json=json)


def reopen(issue_id: IssueId, reason: Reason, actor: Actor = None, json: Json = False) -> None:
    """Open a closed issue again; what waited for it waits again."""
    with open_queue(actor) as queue:
        issue = queue.reopen(issue_id, reason)
    _print(issue, f"{issue.id} is open", as_json=json)


def requeue(issue_id: IssueId, reason: Reason, actor: Actor = None, json: Json = False) -> None:
    """Give a quarantined issue new attempts; its history stays."""
    with open_queue(actor) as queue:
        issue = queue.requeue(issue_id, reason)
    _print(issue, f"{issue.id} is open", as_json=json)


def import_plan(
    plan: Annotated[Path, Option("--plan", help="A YAML plan, or a Markdown one (.md).")],
    actor: Actor = None,
    json: Json = False,
) -> None:
    """File a plan's issues with their dependencies; again, only what is new in it."""
    from arcfusion.agents.fingerprint import fingerprint
    from arcfusion.issues.markdown_plan import is_markdown, load_markdown_plan
    from arcfusion.issues.plan import file_plan, load_plan
    from arcfusion.issues.states import IssueType, Size

    loaded = load_markdown_plan(plan) if is_markdown(plan) else load_plan(plan)
    with open_queue(actor) as queue:
        filed = file_plan(queue, loaded, identify=fingerprint)
    too_large = [
        key
        for key, issue in filed.issues.items()
        if issue.size is Size.XL and issue.type is not IssueType.EPIC
    ]
    if json:
        ids = {key: issue.id for key, issue in filed.issues.items()}
        print_json(
            {
                "plan": loaded.plan,
                "ids": ids,
                "new_keys": [*filed.new_keys],
                "too_large_keys": too_large,
            }
        )
    else:
        known = len(filed.issues) - len(filed.new_keys)
        print_text(f"plan {loaded.plan}: {len(filed.new_keys)} issues filed, {known} known")
    if too_large:
        print_note(
            f"{len(too_large)} are of size XL: nobody can claim them before `arcfusion issue split`"
        )


def _print(issue: "IssueRecord", text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(issue.to_json())
    else:
        print_text(text)
