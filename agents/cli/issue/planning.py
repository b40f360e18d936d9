"""The verbs that plan: schedule, split, gate."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.issue.options import (
    Actor,
    IssueId,
    Labels,
    open_queue,
    open_view,
    print_issues,
    split_labels,
)
from arcfusion.agents.cli.output import Json, format_table, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Argument, Option
from arcfusion.core.errors import BadInputError

if TYPE_CHECKING:
    from arcfusion.issues.phases import PhaseGate
    from arcfusion.issues.record import IssueRecord
    from arcfusion.issues.schedule import Schedule, Slot
    from arcfusion.issues.splitting import Part


def schedule(labels: Labels = None, json: Json = False) -> None:
    """Show what can run in parallel, the critical path, each agent's load, and what blocks whom."""
    from arcfusion.issues.schedule import schedule as make_schedule

    with open_view() as view:
        found = make_schedule(view.list(), view.edges(), labels=split_labels(labels))
    if json:
        print_json(found.to_json())
    else:
        _print_schedule(found)


def split(
    issue_id: IssueId,
    into: Annotated[
        list[str] | None, Option("--into", help="A part's title; repeat it for each part.")
    ] = None,
    hours: Annotated[
        list[float] | None,
        Option("--hours", min=0, help="A part's estimate, in the order of --into."),
    ] = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Split an issue: it becomes an epic that closes with its parts; what waits for it waits on."""
    parts = _parts(into or [], hours or [])
    with open_queue(actor) as queue:
        children = queue.split(issue_id, parts)
        parent = queue.fetch(issue_id)
    _warn_of_large_parts(parent, children)
    if json:
        print_json({"epic": parent.to_json(), "children": [child.to_json() for child in children]})
    else:
        print_text(f"{parent.id} is an epic of {len(children)} parts")
        print_issues(children)


def gate(
    phase: Annotated[str, Argument(help="The phase: what follows `phase:` in the label.")],
    json: Json = False,
) -> None:
    """Show whether all of a phase's issues are closed as done; exit 5 when they are not."""
    from arcfusion.issues.errors import PhaseHeldError
    from arcfusion.issues.phases import read_gate

    with open_view() as view:
        found = read_gate(view, phase)
    if json:
        print_json(found.to_json())
    else:
        _print_gate(found)
    if not found.holds:
        raise PhaseHeldError(
            f"the gate of phase {found.phase!r} does not hold: {found.issues - found.done} of its "
            f"{found.issues} issues are not closed as done"
        )


def _parts(titles: Sequence[str], hours: Sequence[float]) -> "list[Part]":
    from arcfusion.issues.splitting import Part

    if hours and len(hours) != len(titles):
        raise BadInputError(
            f"{len(titles)} parts and {len(hours)} estimates: give --hours for each --into, or none"
        )
    estimates: list[int | None] = [round(value * 60) for value in hours]
    estimates = estimates or [None] * len(titles)
    return [Part(title, minutes) for title, minutes in zip(titles, estimates, strict=True)]


def _warn_of_large_parts(parent: "IssueRecord", children: "Sequence[IssueRecord]") -> None:
    """Say when the whole's estimate does not fit into parts of that size."""
    from arcfusion.issues.sizing import LIMIT_MINUTES

    blank = [child for child in children if child.estimated_minutes is None]
    if parent.estimated_minutes is None or not blank:
        return
    share = parent.estimated_minutes / len(children)
    limit = LIMIT_MINUTES[blank[0].size]
    if share > limit:
        print_note(
            f"{parent.estimated_minutes / 60:g} h in {len(children)} parts are {share / 60:.1f} h "
            f"a part, and size {blank[0].size} ends at {limit / 60:g} h: split them again, or say "
            "their --hours"
        )


def _print_schedule(found: "Schedule") -> None:
    names = {slot.id: slot.reference for level in found.levels for slot in level}
    names |= {slot.id: slot.reference for slot in found.critical_path}
    for level in found.levels:
        print_text(f"level {level[0].level}: {', '.join(slot.reference for slot in level)}")
    if not found.levels:
        print_text("nothing to schedule: no open issue")
    path = " -> ".join(slot.reference for slot in found.critical_path)
    print_text(f"\ncritical path: {found.critical_hours:g} h{': ' if path else ''}{path}")
    if found.unestimated:
        print_text(f"{found.unestimated} issues have no estimate and count as 0 h")
    if found.loads:
        rows = [(load.agent, load.issues, f"{load.hours:g}") for load in found.loads]
        print_text("\n" + format_table(("AGENT", "ISSUES", "HOURS"), rows))
    _print_blocks([slot for level in found.levels for slot in level], names)
    for issue_id in found.stuck:
        print_note(f"{issue_id} can never start: `arcfusion issue show {issue_id}` says why")


def _print_blocks(slots: "Sequence[Slot]", names: dict[str, str]) -> None:
    rows = [
        (slot.reference, ", ".join(names.get(name, name) for name in slot.blocks))
        for slot in slots
        if slot.blocks
    ]
    if rows:
        print_text("\n" + format_table(("ISSUE", "BLOCKS"), rows))


def _print_gate(found: "PhaseGate") -> None:
    state = "holds" if found.holds else "does not hold"
    print_text(f"phase {found.phase}: {state}, {found.done} of {found.issues} issues are done")
    for holdup in found.holdups:
        issue = holdup.issue
        print_text(f"  {issue.external_ref or issue.id}: {'; '.join(holdup.reasons)}")
