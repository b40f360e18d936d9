"""An issue that is too large becomes an epic of smaller ones, in one transaction.

What waits for it goes on waiting: the epic closes when its parts are closed (`issues.family`). What
it waits for holds its parts back. The parts take over its labels, priority and needs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from arcfusion.core.database import Row
from arcfusion.issues import editing
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Edge, Needs, check_minutes, check_title
from arcfusion.issues.errors import SplitRefusedError
from arcfusion.issues.family import CLOSES_WITH_CHILDREN, Rule
from arcfusion.issues.sizing import is_smaller, size_of, smaller
from arcfusion.issues.states import EdgeType, EventType, IssueType, Size, Status
from arcfusion.issues.transaction import Transaction

MIN_PARTS = 2


@dataclass(frozen=True, slots=True)
class Part:
    """One of the issues that the large one becomes.

    Attributes:
        title: one line.
        minutes: the estimate, which gives the size. None makes the part one size smaller than the
            whole and invents no estimate.

    Raises:
        FieldError: the title or the estimate is not allowed.
    """

    title: str
    minutes: int | None = None

    def __post_init__(self) -> None:
        check_title(self.title)
        check_minutes(self.minutes)


def split(tx: Transaction, issue_id: str, parts: Sequence[Part], config: QueueConfig) -> list[str]:
    """Make the issue an epic of the parts; return their ids in the order given.

    Raises:
        IssueUnknownError: there is no such issue.
        SplitRefusedError: it is not open, can not be smaller, or a part is not smaller than it.
    """
    row = tx.issue_row(issue_id)
    _check_splittable(tx, row, parts)
    sizes = [_size(row, part) for part in parts]
    metadata = json.loads(row["metadata"]) | {CLOSES_WITH_CHILDREN: Rule.CLOSED}
    changes = {"type": IssueType.EPIC, "metadata": json.dumps(metadata, sort_keys=True)}
    tx.change(EventType.UPDATED, row, changes, detail={"split_into": len(parts)})
    labels = tuple(
        name for (name,) in tx.rows("SELECT name FROM label WHERE issue_id = ?", issue_id)
    )
    drafts = [
        _draft(row, labels, part, size, number)
        for number, (part, size) in enumerate(zip(parts, sizes, strict=True), 1)
    ]
    return [child for child, _ in editing.create_all(tx, drafts, config)]


def _check_splittable(tx: Transaction, row: Row, parts: Sequence[Part]) -> None:
    issue_id = row["id"]
    if len(parts) < MIN_PARTS:
        raise SplitRefusedError(
            f"issue {issue_id!r} can not be split into {len(parts)} part: name at least {MIN_PARTS}"
        )
    if row["type"] == IssueType.EPIC:
        raise SplitRefusedError(
            f"issue {issue_id!r} is an epic already: add a part to it with "
            f"`arcfusion issue create TITLE --parent {issue_id}`, or split one of its parts"
        )
    if row["status"] != Status.OPEN:
        status = row["status"].replace("_", " ")
        raise SplitRefusedError(
            f"issue {issue_id!r} is {status}: only an open issue that nobody holds is split"
        )


def _size(row: Row, part: Part) -> Size:
    whole = Size(row["size"])
    next_size = smaller(whole)
    if next_size is None:
        raise SplitRefusedError(
            f"issue {row['id']!r} is of size {whole}, the smallest: it is claimed as it is"
        )
    if part.minutes is None:
        return next_size
    size = size_of(part.minutes)
    if not is_smaller(size, whole):
        raise SplitRefusedError(
            f"the part {part.title!r} of {part.minutes / 60:g} h is of size {size}, not smaller "
            f"than {row['id']!r} ({whole}): split into more parts"
        )
    return size


def _draft(row: Row, labels: tuple[str, ...], part: Part, size: Size, number: int) -> Draft:
    reference = row["external_ref"]
    return Draft(
        title=part.title,
        description=f"Part {number} of {row['id']}, {row['title']}: see there for what is wanted.",
        priority=row["priority"],
        type=IssueType(row["type"]),
        size=size,
        estimated_minutes=part.minutes,
        owner=row["owner"],
        labels=labels,
        needs=Needs(
            gpus=row["needs_gpus"],
            gpu_memory_bytes=row["needs_gpu_memory_bytes"],
            skills=tuple(json.loads(row["needs_skills"])),
        ),
        edges=(Edge(EdgeType.PARENT_CHILD, row["id"]),),
        external_ref=None if reference is None else f"{reference}/{number}",
        source_system=row["source_system"],
        not_before=row["not_before"],
        due_at=row["due_at"],
        max_attempts=row["max_attempts"],
    )
