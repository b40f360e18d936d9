"""Plans: a YAML file of issues that depend on each other by key, filed in one transaction.

    plan: backlog
    issues:
      - key: scan
        title: Make the scan faster
        priority: 1
        depends_on: [measure]

Filing a plan again adds what is new in it and leaves the rest as it is: every entry's idempotency
key is the plan's name and its own key. Its id follows from them too, the same on every machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arcfusion.core.errors import BadInputError
from arcfusion.core.ids import unused_id
from arcfusion.issues.draft import Draft, Edge, Json, Needs
from arcfusion.issues.errors import PlanError
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import IssueRecord
from arcfusion.issues.states import EdgeType, IssueType, Size

GIB = 1 << 30
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]

Identify = Callable[[Mapping[str, object]], str | None]


class PlannedNeeds(BaseModel):
    """What a worker must have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpus: int = Field(0, ge=0)
    gpu_memory_gib: float = Field(0, ge=0)
    skills: tuple[str, ...] = ()


class Entry(BaseModel):
    """One planned issue; every list of keys names entries of the same plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Key
    title: str
    id: str | None = None
    description: str = ""
    design: str = ""
    acceptance: str = ""
    type: IssueType = IssueType.TASK
    priority: int = Field(2, ge=0, le=4)
    size: Size = Size.M
    estimated_minutes: int | None = Field(None, ge=0)
    labels: tuple[str, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=dict)
    needs: PlannedNeeds = PlannedNeeds()
    external_ref: str | None = None
    parent: Key | None = None
    depends_on: tuple[Key, ...] = ()
    only_if_unsuccessful: tuple[Key, ...] = ()
    related: tuple[Key, ...] = ()

    def references(self) -> list[tuple[EdgeType, str]]:
        """Return what the entry depends on, by key."""
        found = [(EdgeType.BLOCKS, key) for key in self.depends_on]
        found += [(EdgeType.CONDITIONAL_BLOCKS, key) for key in self.only_if_unsuccessful]
        found += [(EdgeType.RELATED, key) for key in self.related]
        if self.parent is not None:
            found.append((EdgeType.PARENT_CHILD, self.parent))
        return found


class Plan(BaseModel):
    """A whole plan file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: Key
    issues: tuple[Entry, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """What an import did: the issue of each key, and the keys that were new."""

    issues: dict[str, IssueRecord]
    new_keys: tuple[str, ...]


def load_plan(path: Path) -> Plan:
    """Read a plan file.

    Raises:
        PlanError: it can not be read, is not YAML (with the line), or an entry is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"can not read the plan {str(path)!r}: {error}") from error
    return parse_plan(text, name=str(path))


def parse_plan(text: str, *, name: str) -> Plan:
    """Read a plan; `name` says in errors where it came from.

    Raises:
        PlanError: it is not YAML (with the line), an entry is not allowed, two entries share a key,
            or a dependency names no entry.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = "?" if error.problem_mark is None else error.problem_mark.line + 1
        raise PlanError(f"{name}, line {line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise PlanError(f"{name}: not YAML: {error}") from error
    if not isinstance(document, dict):
        raise PlanError(f"{name} is not a plan: it must have the keys `plan` and `issues`")
    try:
        plan = Plan.model_validate(document)
    except ValidationError as error:
        raise PlanError(f"{name}: {_first(error, document)}") from error
    _check_references(plan, name)
    return plan


def file_plan(queue: Queue, plan: Plan, *, identify: Identify | None = None) -> Filed:
    """File all of the plan's issues with their edges, or none.

    Args:
        queue: where to.
        plan: what.
        identify: the fingerprint of the experiment that metadata asks for, if they ask for one.

    Raises:
        PlanError: an entry has a field that is not allowed.
        ExperimentExistsError: an entry asks for an experiment that another issue has.
        IssueExistsError, DependencyCycleError: as `Queue.create`.
    """
    ids = _choose_ids(plan, queue)
    filed = queue.create_all([_draft(plan, entry, ids, identify) for entry in plan.issues])
    pairs = list(zip(plan.issues, filed, strict=True))
    return Filed(
        issues={entry.key: issue for entry, (issue, _) in pairs},
        new_keys=tuple(entry.key for entry, (_, is_new) in pairs if is_new),
    )


def _choose_ids(plan: Plan, queue: Queue) -> dict[str, str]:
    """Return an id for each key: that of the last import, the plan's, or one made of the key."""
    ids: dict[str, str] = {}
    for entry in plan.issues:
        filed = queue.find_idempotent(_idempotency_key(plan, entry))
        if filed is not None or entry.id is not None:
            ids[entry.key] = filed or str(entry.id)
    for entry in plan.issues:
        if entry.key not in ids:
            taken = set(ids.values())
            ids[entry.key] = unused_id(
                queue.config.id_prefix,
                [plan.plan, entry.key],
                lambda candidate, taken=taken: candidate in taken or queue.has(candidate),  # type: ignore[misc]  # a bound default
            )
    return ids


def _idempotency_key(plan: Plan, entry: Entry) -> str:
    return f"plan:{plan.plan}:{entry.key}"


def _draft(plan: Plan, entry: Entry, ids: dict[str, str], identify: Identify | None) -> Draft:
    metadata: dict[str, Json] = entry.metadata
    try:
        return Draft(
            id=ids[entry.key],
            title=entry.title,
            description=entry.description.strip(),
            design=entry.design.strip(),
            acceptance=entry.acceptance.strip(),
            type=entry.type,
            priority=entry.priority,
            size=entry.size,
            estimated_minutes=entry.estimated_minutes,
            labels=entry.labels,
            metadata=metadata,
            needs=Needs(
                gpus=entry.needs.gpus,
                gpu_memory_bytes=int(entry.needs.gpu_memory_gib * GIB),
                skills=entry.needs.skills,
            ),
            external_ref=entry.external_ref,
            source_system=f"plan {plan.plan}",
            idempotency_key=_idempotency_key(plan, entry),
            experiment=None if identify is None else identify(metadata),
            edges=tuple(Edge(kind, ids[key]) for kind, key in entry.references()),
        )
    except BadInputError as error:
        raise PlanError(f"entry {entry.key!r}: {error}") from error


def _check_references(plan: Plan, name: str) -> None:
    keys = [entry.key for entry in plan.issues]
    doubled = sorted({key for key in keys if keys.count(key) > 1})
    if doubled:
        raise PlanError(f"{name}: two entries have the key {doubled[0]!r}")
    for entry in plan.issues:
        for kind, key in entry.references():
            if key not in keys:
                raise PlanError(
                    f"{name}: entry {entry.key!r} depends on {key!r} ({kind}), which is no entry "
                    "of the plan"
                )


def _first(error: ValidationError, document: dict[str, Any]) -> str:
    first = error.errors()[0]
    place = _place(first["loc"], document)
    return f"{place} is {str(first['input'])[:60]!r}: {first['msg'].lower()}"


def _place(location: Sequence[int | str], document: dict[str, Any]) -> str:
    match location:
        case ["issues", int(index), *rest]:
            entry = document["issues"][index]
            key = entry.get("key", f"number {index + 1}") if isinstance(entry, dict) else index + 1
            return f"entry {key!r}, {'.'.join(str(part) for part in rest) or 'as a whole'}"
        case _:
            return ".".join(str(part) for part in location)
