"""The verbs that only look: ready, list, show, blocked, events."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

from arcfusion.agents.cli.issue.options import (
    ALL,
    ExcludeLabels,
    IssueId,
    Labels,
    Limit,
    Offers,
    Sort,
    open_view,
    parse_offer,
    parse_order,
    print_issues,
    split_labels,
)
from arcfusion.agents.cli.output import Json, format_table, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Argument, Option

if TYPE_CHECKING:
    from arcfusion.issues.draft import Json as JsonValue
    from arcfusion.issues.draft import Offer
    from arcfusion.issues.history import IssueDetail
    from arcfusion.issues.ordering import Order
    from arcfusion.issues.record import IssueRecord
    from arcfusion.issues.view import View

# Ten such lines in the JSON that is printed take less than 1.2 KB.
BRIEF_BYTES = 106


class _Selection(TypedDict):
    """What `ready` was asked for."""

    labels: Sequence[str]
    exclude_labels: Sequence[str]
    offer: "Offer | None"
    pool: str | None


def ready(
    labels: Labels = None,
    exclude_labels: ExcludeLabels = None,
    limit: Limit = 20,
    explain: Annotated[bool, Option("--explain", help="Say why the others are not ready.")] = False,
    brief: Annotated[bool, Option("--brief", help="One short line an issue.")] = False,
    offer: Offers = None,
    pool: Annotated[
        str | None, Option("--pool", help="Only what fits this pool's free GPUs.")
    ] = None,
    sort: Sort = "priority",
    json: Json = False,
) -> None:
    """List what can be claimed, in the order in which it is handed out: priority, age, id."""
    selection = _Selection(
        labels=split_labels(labels),
        exclude_labels=split_labels(exclude_labels),
        offer=parse_offer(offer) if offer or pool else None,
        pool=pool,
    )
    order = parse_order(sort)
    with open_view() as view:
        issues = view.ready(limit, **selection, order=order)
        if explain:
            unfit = view.unfit(**selection) if selection["offer"] is not None else []
            _print_explained(view, issues, unfit, order, as_json=json)
        elif brief:
            _print_brief(issues, as_json=json)
        elif json:
            print_json([issue.to_json() for issue in issues])
        elif issues:
            print_issues(issues)
        else:
            print_note("nothing is ready: `arcfusion issue blocked` shows what the others wait for")


def list_issues(
    status: Annotated[
        list[str] | None, Option("--status", "-s", help="Only in this status; repeat it.")
    ] = None,
    labels: Labels = None,
    limit: Limit = ALL,
    json: Json = False,
) -> None:
    """List issues, closed ones included unless --status says otherwise."""
    from arcfusion.issues.draft import parse_closed
    from arcfusion.issues.states import Status

    statuses = [parse_closed("status", word, Status) for word in split_labels(status)]
    with open_view() as view:
        issues = view.list(statuses=statuses, labels=split_labels(labels), limit=limit)
    if json:
        print_json([issue.to_json() for issue in issues])
    else:
        print_issues(issues)


def show(issue_id: IssueId, json: Json = False) -> None:
    """Show an issue with its dependencies, comments, attempts and claim."""
    with open_view() as view:
        detail = view.show(issue_id)
        reasons = view.explain(issue_id)
    if json:
        print_json(_detail_to_json(detail) | {"not_ready_because": [*reasons]})
    else:
        _print_detail(detail)


def blocked(limit: Limit = ALL, json: Json = False) -> None:
    """List what can not be worked on now, each with the reason in words."""
    with open_view() as view:
        found = view.blocked(limit)
    if json:
        print_json([issue.to_json() | {"reasons": [*reasons]} for issue, reasons in found])
        return
    for issue, reasons in found:
        print_text(f"{issue.id}  P{issue.priority}  {issue.title}")
        for reason in reasons:
            print_text(f"    {reason}")


def events(
    issue_id: Annotated[str | None, Argument(metavar="[ID]", help="Only this issue.")] = None,
    after: Annotated[int, Option("--after", min=0, help="Only later numbers.")] = 0,
    limit: Limit = ALL,
    json: Json = False,
) -> None:
    """List what was written, in order; the numbers have no gaps."""
    with open_view() as view:
        if issue_id is not None:
            view.fetch(issue_id)
        found = view.events(issue_id, after_seq=after, limit=limit)
    if json:
        print_json([event.to_json() for event in found])
        return
    rows = [
        (
            event.seq,
            event.created_at.isoformat(timespec="seconds"),
            event.issue_id,
            event.type,
            event.actor,
            event.fence,
            ",".join(event.after) or ",".join(event.before),
        )
        for event in found
    ]
    print_text(format_table(("SEQ", "TIME", "ISSUE", "EVENT", "ACTOR", "FENCE", "FIELDS"), rows))


def _print_brief(issues: "Sequence[IssueRecord]", *, as_json: bool) -> None:
    lines = [_brief(issue) for issue in issues]
    if as_json:
        print_json(lines)
    else:
        print_text("\n".join(lines))


def _brief(issue: "IssueRecord") -> str:
    from arcfusion.issues.excerpt import cut, json_size

    start = f"{issue.id} P{issue.priority} "
    return start + cut(issue.title, BRIEF_BYTES - json_size(start))


def _print_explained(
    view: "View",
    issues: "Sequence[IssueRecord]",
    unfit: "Sequence[tuple[IssueRecord, Sequence[str]]]",
    order: "Order",
    *,
    as_json: bool,
) -> None:
    from arcfusion.issues.ordering import KEYS, RULES

    held = view.blocked()
    expired = view.expired_count()
    if as_json:
        print_json(
            {
                "order": [*KEYS[order]],
                "rule": RULES[order],
                "ready": [issue.to_json() for issue in issues],
                "not_ready": _reasons_to_json(held),
                "does_not_fit": _reasons_to_json(unfit),
                "expired_claims": expired,
            }
        )
        return
    print_text(f"order: {RULES[order]}")
    for place, issue in enumerate(issues, 1):
        since = issue.created_at.isoformat(timespec="seconds")
        print_text(f"{place}. {issue.id}: priority {issue.priority}, filed {since}: {issue.title}")
    for issue, reasons in (*unfit, *held):
        print_text(f"-  {issue.id}: {'; '.join(reasons)}")
    if expired:
        print_text(f"{expired} claims have run out: the next claim gives them back first")


def _reasons_to_json(
    found: "Sequence[tuple[IssueRecord, Sequence[str]]]",
) -> "list[JsonValue]":
    return [
        {"id": issue.id, "title": issue.title, "reasons": [*reasons]} for issue, reasons in found
    ]


def _detail_to_json(detail: "IssueDetail") -> "dict[str, JsonValue]":
    from arcfusion.issues.graph import sentence

    edges = {
        "dependencies": detail.dependencies,
        "dependents": detail.dependents,
    }
    lists: dict[str, JsonValue] = {
        name: [
            {
                "issue_id": edge.issue_id,
                "depends_on_id": edge.depends_on_id,
                "type": edge.type,
                "gate": edge.gate,
                "is_blocking": edge.is_blocking,
                "sentence": sentence(edge.issue_id, edge.edge),
            }
            for edge in found
        ]
        for name, found in edges.items()
    }
    return (
        detail.issue.to_json()
        | lists
        | {
            "comments": [comment.to_json() for comment in detail.comments],
            "attempts_made": [attempt.to_json() for attempt in detail.attempts],
            "lease": None if detail.lease is None else detail.lease.to_json(),
        }
    )


def _print_detail(detail: "IssueDetail") -> None:
    from arcfusion.issues.graph import sentence

    issue = detail.issue
    print_text(f"{issue.id}  {issue.title}")
    print_text(f"{issue.status}, P{issue.priority}, {issue.type}, size {issue.size}")
    if issue.question is not None:
        print_text(f"asks a person: {issue.question}")
    if issue.labels:
        print_text(f"labels: {', '.join(issue.labels)}")
    for name in ("description", "design", "acceptance", "notes"):
        text = getattr(issue, name)
        if text:
            print_text(f"\n{name}:\n{text}")
    if issue.outcome is not None:
        print_text(f"\nclosed as {issue.outcome} by {issue.closed_by}: {issue.close_reason}")
        for item in issue.evidence:
            print_text(f"  {item.kind}: {item.value}")
    for edge in (*detail.dependencies, *detail.dependents):
        mark = "!" if edge.is_blocking else "-"
        print_text(f"{mark} {sentence(edge.issue_id, edge.edge)}")
    _print_history(detail)


def _print_history(detail: "IssueDetail") -> None:
    for attempt in detail.attempts:
        end = attempt.outcome or "running"
        print_text(f"attempt {attempt.number} by {attempt.actor}: {end}")
        if attempt.handoff is not None:
            print_text(f"  tried {attempt.handoff.tried}; {attempt.handoff.result}")
            print_text(f"  next {attempt.handoff.next}")
    for comment in detail.comments:
        print_text(f"{comment.author}: {comment.text}")
