"""Plans in Markdown: each fenced YAML block with a `task_id` is an issue of the same `Plan`.

    ### Agent-A: Models
    **Phase 1 Tasks**
    ```yaml
    task_id: SCAN-1
    name: Make the scan faster
    files: [kernels/scan.py]
    acceptance_criteria:
      - The gradients agree
    dependencies: [MEASURE-1]
    estimated_hours: 4
    ```

The document's first heading names the plan, so that a moved file is the same plan. The hours give
the size; a task above six hours is XL and stays so: nobody can claim it until it is split.

Phases are labels. A phase waits for the one before only where the document says so: with a line
`**Gate:** ...` under the former's heading, `(Must Complete First)` in it, or `(After ...)` in the
latter's. Then each of the two is an epic, and the latter waits for the former to be done.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from arcfusion.issues.errors import PlanError
from arcfusion.issues.family import CLOSES_WITH_CHILDREN, Rule
from arcfusion.issues.markdown_blocks import Block, Document, read_document
from arcfusion.issues.phases import PHASE_LABEL
from arcfusion.issues.plan import Entry, Plan
from arcfusion.issues.schedule import AGENT_LABEL
from arcfusion.issues.sizing import size_of
from arcfusion.issues.states import IssueType, Size

SUFFIXES = frozenset({".md", ".markdown", ".txt"})
MAX_KEY_CHARACTERS = 64

_KEY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
_PRIORITIES = {"blocker": 0, "high": 1, "medium": 2, "low": 3, "optional": 4}


def is_markdown(path: Path) -> bool:
    """Return whether a plan file of that name is read as Markdown."""
    return path.suffix.lower() in SUFFIXES


def load_markdown_plan(path: Path) -> Plan:
    """Read a Markdown plan file.

    Raises:
        PlanError: it can not be read, or as `parse_markdown_plan`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"can not read the plan {str(path)!r}: {error}") from error
    return parse_markdown_plan(text, name=str(path))


def parse_markdown_plan(text: str, *, name: str) -> Plan:
    """Read a Markdown plan; `name` says in errors where it came from.

    Raises:
        PlanError: it has no task, a block can not be read (with the line), two tasks share an id, a
            dependency names no task, or a task waits for one of a later phase behind a gate.
    """
    document = read_document(text, name=name)
    if not document.blocks:
        raise PlanError(f"{name} has no task: a task is a fenced ```yaml block with a `task_id`")
    slug = _slug(document.title or "") or _slug(Path(name).stem) or "plan"
    gated = _gated(document)
    _check_ids(document.blocks, gated, name)
    _check_dependencies(document, gated, name)
    entries = [_entry(block, slug, gated, name) for block in document.blocks]
    return Plan(plan=slug, issues=(*_phase_entries(document, gated), *entries))


def _check_ids(blocks: Sequence[Block], gated: Iterable[str], name: str) -> None:
    lines: dict[str, int] = {}
    epics = {_phase_key(phase) for phase in gated}
    for block in blocks:
        key = str(block.fields["task_id"])
        if not _KEY.match(key) or len(key) > MAX_KEY_CHARACTERS:
            raise PlanError(
                f"{name}, line {block.line}: task_id {key!r} is not allowed: up to "
                f"{MAX_KEY_CHARACTERS} letters, digits, '-', '.' and '_'"
            )
        if key in lines:
            raise PlanError(
                f"{name}, line {block.line}: task_id {key!r} is that of the task in line "
                f"{lines[key]} too"
            )
        if key in epics:
            raise PlanError(
                f"{name}, line {block.line}: task_id {key!r} is that of a phase's gate: name the "
                "task otherwise"
            )
        lines[key] = block.line


def _entry(block: Block, plan: str, gated: Mapping[str, str | None], name: str) -> Entry:
    fields = block.fields
    place = f"{name}, line {block.line}"
    key = str(fields["task_id"])
    if "name" not in fields:
        raise PlanError(f"{place}: task {key!r} has no `name`")
    hours = fields.get("estimated_hours")
    minutes = hours * 60 if isinstance(hours, int | float) else None
    phase = _phase(block)
    return Entry(
        key=key,
        title=str(fields["name"]),
        description=_description(block, plan),
        acceptance=_bullets(_texts(block, "acceptance_criteria")),
        priority=_priority(fields.get("priority"), place),
        size=Size.M if minutes is None else size_of(minutes),
        estimated_minutes=None if minutes is None else round(minutes),
        labels=_labels(block),
        metadata={"files": [*_texts(block, "files")]},
        external_ref=key,
        parent=_phase_key(phase) if phase in gated else None,
        depends_on=_texts(block, "dependencies"),
    )


def _description(block: Block, plan: str) -> str:
    parts = [str(block.fields.get("description", ""))]
    for key, title in (("deliverables", "Deliverables"), ("files", "Files")):
        items = _texts(block, key)
        if items:
            parts.append(f"{title}:\n{_bullets(items)}")
    parts.append(f"From the plan {plan}, line {block.line}.")
    return "\n\n".join(part for part in parts if part)


def _labels(block: Block) -> tuple[str, ...]:
    named = (
        (AGENT_LABEL, str(block.fields.get("agent") or block.agent or "")),
        (PHASE_LABEL, _phase(block) or ""),
    )
    made = tuple(prefix + re.sub(r"[\s,]+", "-", word) for prefix, word in named if word)
    return (*made, *_texts(block, "labels"))


def _phase(block: Block) -> str | None:
    given = block.fields.get("phase")
    return block.phase if given is None else re.sub(r"(?i)^phase\s+", "", str(given))


def _priority(value: object, place: str) -> int:
    word = str(2 if value is None else value).lower().removeprefix("p")
    if word in _PRIORITIES:
        return _PRIORITIES[word]
    if word not in {"0", "1", "2", "3", "4"}:
        allowed = ", ".join(name.upper() for name in _PRIORITIES)
        raise PlanError(f"{place}: priority is {value!r}: allowed are 0 to 4 and {allowed}")
    return int(word)


def _texts(block: Block, key: str) -> tuple[str, ...]:
    found = block.fields.get(key, ())
    assert isinstance(found, tuple)
    return found


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _gated(document: Document) -> dict[str, str | None]:
    """Return the phases on either side of a stated gate, each with the one that it waits for."""
    used = {phase for block in document.blocks if (phase := _phase(block)) is not None}
    order = sorted(used & document.phases.keys(), key=_natural)
    gated: dict[str, str | None] = {}
    for former, latter in pairwise(order):
        before, after = document.phases[former], document.phases[latter]
        if before.gate is not None or before.is_first or after.is_after:
            gated.setdefault(former, None)
            gated[latter] = former
    return gated


def _phase_entries(document: Document, gated: Mapping[str, str | None]) -> list[Entry]:
    return [
        Entry(
            key=_phase_key(phase),
            title=document.phases[phase].title,
            description="The phase's gate: it closes when all issues of the phase are done.",
            acceptance=document.phases[phase].gate or "",
            type=IssueType.EPIC,
            labels=(PHASE_LABEL + phase,),
            metadata={CLOSES_WITH_CHILDREN: Rule.DONE.value},
            depends_on=() if former is None else (_phase_key(former),),
        )
        for phase, former in gated.items()
    ]


def _phase_key(phase: str | None) -> str:
    return f"phase-{phase}"


def _natural(phase: str) -> tuple[int, str]:
    digits = re.match(r"\d+", phase)
    return (int(digits[0]) if digits else 0, phase)


def _check_dependencies(document: Document, gated: Mapping[str, str | None], name: str) -> None:
    phases = {str(block.fields["task_id"]): _phase(block) for block in document.blocks}
    for block in document.blocks:
        own = str(block.fields["task_id"])
        place = f"{name}, line {block.line}: task {own!r}"
        for key in _texts(block, "dependencies"):
            if key not in phases:
                raise PlanError(f"{place} depends on {key!r}, which is no task of the plan")
            if key == own:
                raise PlanError(f"{place} depends on itself")
            if phases[own] in _before(phases[key], gated):
                raise PlanError(
                    f"{place} depends on {key!r} of phase {phases[key]}, which does not start "
                    f"before phase {phases[own]} is done"
                )


def _before(phase: str | None, gated: Mapping[str, str | None]) -> set[str | None]:
    """Return the phases that must be done before that one starts."""
    found: set[str | None] = set()
    former = None if phase is None else gated.get(phase)
    while former is not None:
        found.add(former)
        former = gated.get(former)
    return found


def _slug(text: str) -> str:
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._").lower()
    return words[:MAX_KEY_CHARACTERS].rstrip("-._")
