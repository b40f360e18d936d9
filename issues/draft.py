"""An issue before it is filed: its fields, checked when they are given."""

import json
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from arcfusion.issues.errors import FieldError
from arcfusion.issues.states import EdgeType, Gate, IssueType, Size

MAX_TITLE_CHARACTERS = 500
MAX_TEXT_CHARACTERS = 100_000
MAX_PRIORITY = 4
MAX_LABEL_CHARACTERS = 80

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
Closed = TypeVar("Closed", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a worker must have for the issue.

    Attributes:
        gpus: number of devices.
        gpu_memory_bytes: on each device.
        skills: words that the worker must offer, all of them.
    """

    gpus: int = 0
    gpu_memory_bytes: int = 0
    skills: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.gpus < 0 or self.gpu_memory_bytes < 0:
            raise FieldError("gpus and GPU memory can not be below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a worker has.

    Attributes:
        gpus: number of devices; None offers all of its pool, or none where no pool is declared.
        gpu_memory_bytes: on each device; None as for `gpus`.
        skills: words.
        minutes: that the worker has left; None is no end.
    """

    gpus: int | None = None
    gpu_memory_bytes: int | None = None
    skills: tuple[str, ...] = ()
    minutes: int | None = None

    def __post_init__(self) -> None:
        for name in ("gpus", "gpu_memory_bytes", "minutes"):
            if (getattr(self, name) or 0) < 0:
                raise FieldError(f"{name} is {getattr(self, name)!r}: it can not be below 0")
        for skill in self.skills:
            if not skill or any(character in '",\\' for character in skill):
                raise FieldError(f"skill {skill!r} is not allowed: no quotes, commas, backslashes")


@dataclass(frozen=True, slots=True)
class Edge:
    """`depends_on_id` is what the issue depends on; `gate` belongs to `waits-for` alone."""

    type: EdgeType
    depends_on_id: str
    gate: Gate | None = None

    def __post_init__(self) -> None:
        if (self.gate is not None) and self.type is not EdgeType.WAITS_FOR:
            raise FieldError(f"a {self.type} dependency has no gate: only waits-for has one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What `Queue.create` files.

    Attributes:
        priority: 0 (most urgent) to 4.
        metadata: JSON for machines, such as the study that a worker should make.
        not_before: seconds since 1970 before which nobody can claim it.
        edges: what it depends on.
        max_attempts: lost and failed attempts until quarantine; None takes the queue's figure.
        idempotency_key: filing the same key again returns the first issue.
        experiment: fingerprint of what determines the result of the study in the metadata; an
            issue of the same one is returned instead, unless this one has a key of its own.
        replicate: file it as the experiment's next replica.
        id: None makes one.

    Raises:
        FieldError: a field has a value that is not allowed.
    """

    title: str
    description: str = ""
    design: str = ""
    acceptance: str = ""
    notes: str = ""
    priority: int = 2
    type: IssueType = IssueType.TASK
    size: Size = Size.M
    estimated_minutes: int | None = None
    owner: str | None = None
    labels: tuple[str, ...] = ()
    metadata: dict[str, Json] = field(default_factory=dict)
    needs: Needs = Needs()
    edges: tuple[Edge, ...] = ()
    external_ref: str | None = None
    source_system: str | None = None
    idempotency_key: str | None = None
    experiment: str | None = None
    replicate: bool = False
    not_before: float = 0.0
    due_at: float | None = None
    max_attempts: int | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        check_title(self.title)
        check_priority(self.priority)
        for name in ("description", "design", "acceptance", "notes"):
            check_text(name, getattr(self, name))
        for label in self.labels:
            check_label(label)
        check_minutes(self.estimated_minutes)
        check_metadata(self.metadata)
        if not math.isfinite(self.not_before):
            raise FieldError(f"not_before is {self.not_before!r}: use seconds since 1970")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise FieldError(f"max_attempts is {self.max_attempts!r}: it must be at least 1")
        if self.id is not None:
            check_id(self.id)


def check_title(title: str) -> None:
    """Raise FieldError unless the title is one line of 1 to 500 characters."""
    if not title.strip() or "\n" in title or "\0" in title or len(title) > MAX_TITLE_CHARACTERS:
        raise FieldError(
            f"the title {title[:60]!r} is not allowed: one line of 1 to {MAX_TITLE_CHARACTERS} "
            "characters"
        )


def check_text(name: str, text: str, limit: int = MAX_TEXT_CHARACTERS) -> None:
    """Raise FieldError unless the text is at most `limit` characters without a NUL."""
    if "\0" in text or len(text) > limit:
        raise FieldError(f"{name} is too long or holds a NUL: allowed are {limit} characters")


def check_priority(priority: int) -> None:
    """Raise FieldError unless the priority is 0 to 4."""
    if not 0 <= priority <= MAX_PRIORITY:
        raise FieldError(f"priority is {priority!r}: allowed are 0 (most urgent) to {MAX_PRIORITY}")


def check_label(label: str) -> None:
    """Raise FieldError unless the label is one short word."""
    if (
        not label
        or len(label) > MAX_LABEL_CHARACTERS
        or any(c.isspace() or c == "," for c in label)
    ):
        raise FieldError(
            f"label {label!r} is not allowed: 1 to {MAX_LABEL_CHARACTERS} characters, no spaces or "
            "commas"
        )


def check_minutes(minutes: int | None) -> None:
    """Raise FieldError when the estimate is below 0."""
    if minutes is not None and minutes < 0:
        raise FieldError(f"estimated_minutes is {minutes!r}: it can not be below 0")


def check_metadata(metadata: dict[str, Json]) -> str:
    """Return the metadata as the JSON text that is stored.

    Raises:
        FieldError: it is not a JSON object.
    """
    try:
        text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FieldError(f"metadata is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise FieldError(f"metadata is {text[:60]}: it must be a JSON object")
    return text


def check_id(issue_id: str) -> None:
    """Raise FieldError unless the id is letters, digits, dots, dashes and underscores."""
    plain = issue_id.replace("-", "").replace(".", "").replace("_", "")
    if not plain.isalnum() or not plain.isascii() or len(issue_id) > MAX_LABEL_CHARACTERS:
        raise FieldError(f"id {issue_id!r} is not allowed: use letters, digits, '-', '.' and '_'")


def parse_closed(name: str, value: str, kind: type[Closed]) -> Closed:
    """Return the member of a closed set.

    Raises:
        FieldError: there is no such member; the message lists them.
    """
    try:
        return kind(value)
    except ValueError as error:
        allowed = ", ".join(member.value for member in kind)
        raise FieldError(f"{name} is {value!r}: allowed are {allowed}") from error
