"""The verbs of who works on an issue: claim, heartbeat, checkpoint, release, fail, close."""

from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.issue.options import (
    Actor,
    ExcludeLabels,
    Fence,
    Files,
    IssueId,
    Labels,
    Next,
    Offers,
    OptionalFence,
    Pool,
    Result,
    Session,
    Sort,
    StateRef,
    Tried,
    open_queue,
    parse_offer,
    parse_order,
    split_labels,
)
from arcfusion.agents.cli.output import Json, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Argument, Option

if TYPE_CHECKING:
    from arcfusion.issues.handoff import Handoff
    from arcfusion.issues.record import IssueRecord, Token


def claim(
    issue_id: Annotated[
        str | None, Argument(metavar="[ID]", help="Without it, the next one that is ready.")
    ] = None,
    labels: Labels = None,
    exclude_labels: ExcludeLabels = None,
    offer: Offers = None,
    pool: Pool = None,
    sort: Sort = "priority",
    actor: Actor = None,
    session: Session = None,
    json: Json = False,
) -> None:
    """Claim an issue: it is yours until the lease ends; each of your writes needs the fence."""
    from arcfusion.core.environment import pool_name

    order = parse_order(sort)
    with open_queue(actor, session=session) as queue:
        granted = queue.claim(
            issue_id,
            labels=split_labels(labels),
            exclude_labels=split_labels(exclude_labels),
            offer=parse_offer(offer),
            pool=pool or pool_name(),
            order=order,
        )
    if json:
        print_json(granted.to_json())
        return
    print_text(f"{granted.issue_id}  {granted.issue.title}")
    print_text(f"fence {granted.fence}, lease {granted.lease_s:g} s (renewed by `issue heartbeat`)")
    if granted.last_handoff is not None:
        print_text(f"tried before: {granted.last_handoff.tried}; {granted.last_handoff.result}")
        print_text(f"next: {granted.last_handoff.next}")
        if granted.last_handoff.answer:
            print_text(f"asked: {granted.last_handoff.question}")
            print_text(f"answered: {granted.last_handoff.answer}")
    if granted.history.attempts > 1:
        print_text(f"attempts before: {granted.history}")


def heartbeat(issue_id: IssueId, fence: Fence, actor: Actor = None, json: Json = False) -> None:
    """Renew the lease of a claim; exit 13 means that it has ended."""
    with open_queue(actor) as queue:
        lease = queue.heartbeat(_token(issue_id, fence))
    if json:
        print_json(lease.to_json())
    else:
        print_text(f"{issue_id} is held until {lease.expires_at.isoformat(timespec='seconds')}")


def checkpoint(
    issue_id: IssueId,
    fence: Fence,
    tried: Tried,
    result: Result,
    next_step: Next,
    files: Files = None,
    state_ref: StateRef = "",
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Keep what the next worker should know if this one dies."""
    handoff = _handoff(tried, result, next_step, files, state_ref)
    with open_queue(actor) as queue:
        queue.checkpoint(_token(issue_id, fence), handoff)
        issue = queue.fetch(issue_id)
    _print(issue, "checkpoint kept", as_json=json)


def release(
    issue_id: IssueId,
    fence: Fence,
    tried: Tried = "",
    result: Result = "",
    next_step: Next = "",
    files: Files = None,
    state_ref: StateRef = "",
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Give a claim back, with what the next worker must know."""
    handoff = _handoff(tried, result, next_step, files, state_ref)
    with open_queue(actor) as queue:
        issue = queue.release(_token(issue_id, fence), handoff)
    _print(issue, "released", as_json=json)


def ask(
    issue_id: IssueId,
    fence: Fence,
    question: Annotated[str, Option("--question", "-q", help="What is unclear.")],
    tried: Tried = "",
    result: Result = "",
    next_step: Next = "",
    files: Files = None,
    state_ref: StateRef = "",
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Give a claim back with a question: the issue waits until a person has answered."""
    handoff = _handoff(tried, result, next_step, files, state_ref)
    with open_queue(actor) as queue:
        issue = queue.release(_token(issue_id, fence), handoff, question=question)
    _print(issue, "asked", as_json=json)


def fail(
    issue_id: IssueId,
    fence: Fence,
    error: Annotated[str, Option("--error", help="What went wrong.")],
    tried: Tried = "",
    result: Result = "",
    next_step: Next = "",
    files: Files = None,
    state_ref: StateRef = "",
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Give a claim back as a failed attempt; after the last one the issue is quarantined."""
    handoff = _handoff(tried, result, next_step, files, state_ref)
    with open_queue(actor) as queue:
        issue = queue.fail(_token(issue_id, fence), handoff, error=error)
    _print(issue, "given back", as_json=json)


def close(
    issue_id: IssueId,
    outcome: Annotated[
        str,
        Option("--outcome", help="done, negative, inconclusive, failed, duplicate, wontdo."),
    ],
    reason: Annotated[str, Option("--reason", "-r", help="One sentence.")] = "",
    evidence: Annotated[
        list[str] | None,
        Option(
            "--evidence",
            "-e",
            help="run:ID, metric:RUN/NAME=N, file:PATH, commit:SHA or command:STATUS:TEXT; repeat.",
        ),
    ] = None,
    fence: OptionalFence = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Close an issue: a claimed one with its fence; done and negative with evidence that holds."""
    from arcfusion.issues.draft import parse_closed
    from arcfusion.issues.evidence import Evidence
    from arcfusion.issues.states import Outcome

    ended = parse_closed("outcome", outcome, Outcome)
    items = [Evidence.parse(text) for text in evidence or ()]
    target = issue_id if fence is None else _token(issue_id, fence)
    with open_queue(actor) as queue:
        queue.close(target, ended, reason=reason, evidence=items)
        issue = queue.fetch(issue_id)
    _print(issue, f"closed as {ended}", as_json=json)


def _token(issue_id: str, fence: int) -> "Token":
    from arcfusion.issues.record import Token

    return Token(issue_id=issue_id, fence=fence)


def _handoff(
    tried: str, result: str, next_step: str, files: list[str] | None, state_ref: str
) -> "Handoff":
    from arcfusion.issues.handoff import Handoff

    handoff = Handoff(
        tried=tried, result=result, next=next_step, files=tuple(files or ()), state_ref=state_ref
    )
    if handoff.fit() != handoff:
        print_note("the handoff is cut to 2 KB: keep the whole in a file, named by --state-ref")
    return handoff


def _print(issue: "IssueRecord", text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(issue.to_json())
    else:
        print_text(f"{issue.id} {text}: it is {issue.status.replace('_', ' ')}")
