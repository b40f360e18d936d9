"""What the verbs of `arcfusion issue` share: options, how a queue is opened, how an issue looks."""

import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.output import Actor, format_table, print_text
from arcfusion.agents.cli.parameter import Argument, Option
from arcfusion.core.errors import BadInputError

if TYPE_CHECKING:
    from arcfusion.issues.draft import Edge, Json, Needs, Offer
    from arcfusion.issues.ordering import Order
    from arcfusion.issues.queue import Queue
    from arcfusion.issues.record import IssueRecord
    from arcfusion.issues.view import View

__all__ = ["Actor"]

IssueId = Annotated[str, Argument(metavar="ID", help="The issue.")]
Fence = Annotated[int, Option("--fence", help="The fence that the claim printed.")]
OptionalFence = Annotated[int | None, Option("--fence", help="The fence that the claim printed.")]
Session = Annotated[
    str | None, Option("--session", help="Names one life of the actor, for a repeated claim.")
]
Labels = Annotated[
    list[str] | None,
    Option("--label", "-l", help="Only with this label; repeat it for all of several."),
]
ExcludeLabels = Annotated[
    list[str] | None, Option("--exclude-label", help="Only without this label.")
]
Limit = Annotated[int, Option("--limit", "-n", min=1, help="At most so many.")]
Tried = Annotated[str, Option("--tried", help="What was tried.")]
Result = Annotated[str, Option("--result", help="What came out.")]
Next = Annotated[str, Option("--next", help="What comes next.")]
Files = Annotated[list[str] | None, Option("--file", help="A file that matters.")]
StateRef = Annotated[
    str, Option("--state-ref", help="Where the state lies: a commit, a run's directory.")
]

Offers = Annotated[
    list[str] | None,
    Option(
        "--offer", help="What you have: gpus=N, gpu_memory_gib=X, skill=WORD, minutes=N; repeat."
    ),
]
Pool = Annotated[
    str | None, Option("--pool", help="Whose GPUs are taken. Default: this host's name.")
]
Sort = Annotated[str, Option("--sort", help="Which one is first: priority, oldest or unblocks.")]

ALL = 1_000_000
_GIB = 1 << 30


def open_view() -> "View":
    """Open the queue of this directory's lab to look at."""
    from arcfusion.core.home import find_home
    from arcfusion.issues.view import View

    return View(find_home())


def open_queue(actor: str | None, *, session: str | None = None) -> "Queue":
    """Open the queue of this directory's lab to write, with the figures of the settings."""
    from arcfusion.agents.cli.options import read_config
    from arcfusion.agents.evidence import evidence_checks
    from arcfusion.core.environment import actor_name
    from arcfusion.core.home import find_home
    from arcfusion.issues.queue import Queue

    home = find_home()
    checks = evidence_checks(home)
    return Queue(home, actor or actor_name(), session=session, config=read_config(), checks=checks)


def split_labels(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the labels of repeated options, each of which may hold several with commas."""
    return tuple(word for value in values or () for word in value.split(",") if word)


def parse_edge(text: str) -> "Edge":
    """Read `ID` (it waits for ID), or `TYPE:ID`; the issue depends on ID, whatever the type.

    Raises:
        FieldError: there is no such type.
    """
    from arcfusion.issues.draft import Edge, parse_closed
    from arcfusion.issues.states import EdgeType

    kind, _, target = text.rpartition(":")
    return Edge(parse_closed("dependency type", kind or EdgeType.BLOCKS, EdgeType), target)


def parse_needs(values: Sequence[str] | None) -> "Needs":
    """Read `gpus=N`, `gpu_memory_gib=X` and `skill=WORD`, each repeated as needed.

    Raises:
        BadInputError: it is none of these.
    """
    from arcfusion.issues.draft import Needs

    amounts, skills = _parse_amounts(values, ("gpus", "gpu_memory_gib"))
    return Needs(
        gpus=int(amounts.get("gpus", 0)),
        gpu_memory_bytes=int(amounts.get("gpu_memory_gib", 0) * _GIB),
        skills=skills,
    )


def parse_offer(values: Sequence[str] | None) -> "Offer":
    """Read what `parse_needs` does, and `minutes=N`; what is not named is what the pool has.

    Raises:
        BadInputError: it is none of these.
    """
    from arcfusion.issues.draft import Offer

    amounts, skills = _parse_amounts(values, ("gpus", "gpu_memory_gib", "minutes"))
    memory_gib = amounts.get("gpu_memory_gib")
    return Offer(
        gpus=_whole(amounts.get("gpus")),
        gpu_memory_bytes=None if memory_gib is None else int(memory_gib * _GIB),
        skills=skills,
        minutes=_whole(amounts.get("minutes")),
    )


def _parse_amounts(
    values: Sequence[str] | None, names: Sequence[str]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Read `NAME=AMOUNT` for these names, and `skill=WORD`; all but memory are whole numbers."""
    amounts: dict[str, float] = {}
    skills = []
    for value in values or ():
        name, _, amount = value.partition("=")
        try:
            if name == "skill" and amount:
                skills.append(amount)
            elif name in names:
                amounts[name] = float(amount) if name == "gpu_memory_gib" else int(amount)
                if not math.isfinite(amounts[name]):
                    raise ValueError(amount)  # noqa: TRY301  # the same answer as for a word
            else:
                raise ValueError(name)  # noqa: TRY301  # the same answer as for a word
        except ValueError as error:
            forms = ", ".join(f"{one}={'X' if one == 'gpu_memory_gib' else 'N'}" for one in names)
            raise BadInputError(f"{value!r} is not allowed: write {forms} or skill=WORD") from error
    return amounts, tuple(skills)


def _whole(amount: float | None) -> int | None:
    return None if amount is None else int(amount)


def parse_order(text: str) -> "Order":
    """Read the name of an order.

    Raises:
        FieldError: there is no such order.
    """
    from arcfusion.issues.draft import parse_closed
    from arcfusion.issues.ordering import Order

    return parse_closed("--sort", text, Order)


def parse_priority(text: str) -> int:
    """Read `1` or `P1`.

    Raises:
        BadInputError: it is not 0 to 4.
    """
    digits = text[1:] if text[:1] in {"P", "p"} else text
    if digits not in {"0", "1", "2", "3", "4"}:
        raise BadInputError(f"priority is {text!r}: allowed are 0 (most urgent) to 4")
    return int(digits)


def parse_metadata(text: str) -> "dict[str, Json]":
    """Read a JSON object.

    Raises:
        BadInputError: it is none.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadInputError(f"metadata is {text!r}: it is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise BadInputError(f"metadata is {text!r}: it must be a JSON object")
    return found


def parse_moment(text: str) -> float:
    """Read an ISO 8601 time, UTC unless it says another zone; return seconds since 1970.

    Raises:
        BadInputError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInputError(f"{text!r} is no time: write it as 2026-01-31T18:00:00Z") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def print_issues(issues: "Iterable[IssueRecord]") -> None:
    """Print a table of issues."""
    rows = [
        (
            issue.id,
            f"P{issue.priority}",
            issue.status,
            issue.type,
            issue.size,
            issue.title,
            ",".join(issue.labels) or None,
        )
        for issue in issues
    ]
    print_text(format_table(("ID", "P", "STATUS", "TYPE", "SIZE", "TITLE", "LABELS"), rows))
