"""What a finding rests on, and whether it is there.

A file is hashed here. Runs, metrics and commits belong to other folders, which pass in their
checks: `Queue(..., checks={EvidenceKind.RUN: check})`. A kind without a check is refused: what
nobody looked at is no evidence.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from arcfusion.issues.draft import Json
from arcfusion.issues.errors import EvidenceMissingError, EvidenceRefusedError, FieldError
from arcfusion.issues.states import EVIDENCED_OUTCOMES, Outcome

_CHUNK_BYTES = 1 << 20


class EvidenceKind(StrEnum):
    """What can be looked up."""

    RUN = "run"
    METRIC = "metric"
    FILE = "file"
    COMMIT = "commit"
    COMMAND = "command"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One thing that a finding rests on.

    Attributes:
        value: the run's id, `RUN/METRIC`, the file's path, the commit's hash or the command.
        number: the metric's value.
        sha256: of the file; filled in when the file is checked.
        exit_status: of the command.

    Raises:
        FieldError: the value is empty, or the kind's figure is missing or not finite.
    """

    kind: EvidenceKind
    value: str
    number: float | None = None
    sha256: str | None = None
    exit_status: int | None = None

    def __post_init__(self) -> None:
        if not self.value.strip():
            raise FieldError(f"evidence of kind {self.kind} names nothing")
        if self.kind is EvidenceKind.METRIC:
            if self.number is None or not math.isfinite(self.number):
                raise FieldError(f"metric {self.value!r} is {self.number!r}: it must be a number")
            if "/" not in self.value:
                raise FieldError(f"metric {self.value!r} names no run: write RUN/NAME=NUMBER")
        if self.kind is EvidenceKind.COMMAND and self.exit_status is None:
            raise FieldError(f"command {self.value!r} has no exit status: write STATUS:COMMAND")

    def to_json(self) -> dict[str, Json]:
        """Return the fields that are set."""
        fields: dict[str, Json] = {"kind": self.kind.value, "value": self.value}
        optional: dict[str, Json] = {
            "number": self.number,
            "sha256": self.sha256,
            "exit_status": self.exit_status,
        }
        return fields | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, fields: Mapping[str, str | float | int]) -> "Evidence":
        """Read back what `to_json` returned."""
        rest = {name: value for name, value in fields.items() if name != "kind"}
        return cls(kind=EvidenceKind(fields["kind"]), **rest)  # type: ignore[arg-type]  # JSON

    @classmethod
    def parse(cls, text: str) -> "Evidence":
        """Read the form in which people type it.

        It is `run:ID`, `metric:RUN/NAME=NUMBER`, `file:PATH`, `file:PATH@SHA256`, `commit:SHA` or
        `command:STATUS:TEXT`.

        Raises:
            FieldError: the text is none of these.
        """
        kind, _, value = text.partition(":")
        if kind not in set(EvidenceKind):
            allowed = ", ".join(f"{member.value}:..." for member in EvidenceKind)
            raise FieldError(f"evidence {text!r} is not allowed: write one of {allowed}")
        try:
            return _PARSERS[EvidenceKind(kind)](value)
        except ValueError as error:
            raise FieldError(f"evidence {text!r} has no number where one belongs") from error


# What is wrong with an item; None when it holds.
Check = Callable[[Evidence], str | None]


def verify(
    outcome: Outcome,
    items: Sequence[Evidence],
    *,
    root: Path,
    checks: Mapping[EvidenceKind, Check],
) -> tuple[Evidence, ...]:
    """Check every item and return them with their hashes filled in.

    Args:
        outcome: `done` and `negative` need at least one item.
        items: what the finding rests on.
        root: what relative paths start from.
        checks: for the kinds that other folders know.

    Raises:
        EvidenceMissingError: the outcome needs evidence and there is none.
        EvidenceRefusedError: an item does not hold, or nobody here can check it.
    """
    if outcome in EVIDENCED_OUTCOMES and not items:
        raise EvidenceMissingError(
            f"an issue is closed as {outcome} with evidence: a run, a metric, a file, a commit or "
            "a command"
        )
    return tuple(_verify_one(item, root, checks) for item in items)


def _verify_one(item: Evidence, root: Path, checks: Mapping[EvidenceKind, Check]) -> Evidence:
    if item.kind is EvidenceKind.FILE:
        return _verify_file(item, root)
    if item.kind is EvidenceKind.COMMAND:
        # A command's outcome is the worker's word: nothing is run again, its status is recorded.
        return item
    check = checks.get(item.kind)
    if check is None:
        raise EvidenceRefusedError(
            f"{item.kind} {item.value!r} can not be checked here, so it is no evidence"
        )
    problem = check(item)
    if problem is not None:
        raise EvidenceRefusedError(f"{item.kind} {item.value!r} does not hold: {problem}")
    return item


def _verify_file(item: Evidence, root: Path) -> Evidence:
    path = root / item.value
    if not path.is_file():
        raise EvidenceRefusedError(f"file {item.value!r} does not exist in {str(root)!r}")
    try:
        found = _hash_file(path)
    except OSError as error:
        raise EvidenceRefusedError(f"file {item.value!r} can not be read: {error}") from error
    if item.sha256 is not None and item.sha256 != found:
        raise EvidenceRefusedError(
            f"file {item.value!r} has sha256 {found}, the evidence says {item.sha256}"
        )
    return replace(item, sha256=found)


def _hash_file(path: Path) -> str:
    import hashlib

    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()


def _parse_metric(value: str) -> Evidence:
    name, _, number = value.rpartition("=")
    return Evidence(kind=EvidenceKind.METRIC, value=name, number=float(number))


def _parse_file(value: str) -> Evidence:
    path, _, digest = value.rpartition("@")
    if path and len(digest) == 64:
        return Evidence(kind=EvidenceKind.FILE, value=path, sha256=digest.lower())
    return Evidence(kind=EvidenceKind.FILE, value=value)


def _parse_command(value: str) -> Evidence:
    status, _, command = value.partition(":")
    return Evidence(kind=EvidenceKind.COMMAND, value=command, exit_status=int(status))


_PARSERS: dict[EvidenceKind, Callable[[str], Evidence]] = {
    EvidenceKind.RUN: lambda value: Evidence(kind=EvidenceKind.RUN, value=value),
    EvidenceKind.METRIC: _parse_metric,
    EvidenceKind.FILE: _parse_file,
    EvidenceKind.COMMIT: lambda value: Evidence(kind=EvidenceKind.COMMIT, value=value),
    EvidenceKind.COMMAND: _parse_command,
}
