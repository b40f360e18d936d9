"""Read a Markdown plan: its fenced YAML blocks that are tasks, and what the headings say.

People write the blocks by hand, so a line of text may hold what YAML keeps for itself: an item
`> 80% coverage`, a name with a colon, a word in backticks. Such a line is taken as the text that it
is, and only where YAML would not read text there by itself; everything else must be YAML.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import yaml

from arcfusion.issues.errors import PlanError

TEXT_KEYS = frozenset({"task_id", "name", "description", "agent", "phase", "priority"})
LIST_KEYS = frozenset({"files", "deliverables", "acceptance_criteria", "dependencies", "labels"})
NUMBER_KEYS = frozenset({"estimated_hours"})
KEYS = TEXT_KEYS | LIST_KEYS | NUMBER_KEYS

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w+-]*)[^`]*$")
_HEADING = re.compile(r"^(?P<marks>#{1,6})\s+(?P<text>.+?)\s*#*\s*$")
_BOLD = re.compile(r"^\*\*(?P<text>[^*]+)\*\*(?P<rest>.*)$")
_GATE = re.compile(r"^gate\s*:?$", re.IGNORECASE)
_PHASE = re.compile(r"\bphase\s+(?P<name>\d[\w.]*)", re.IGNORECASE)
_AGENT = re.compile(
    r"\bAgent(?:[-_](?P<dashed>\w[\w.-]*)|:\s*(?P<named>\w[\w.-]*)|\s+(?P<short>[A-Z]|\d+)\b)"
)
_FIRST = re.compile(r"\bmust\s+(?:be\s+)?complete[d]?\s+first\b", re.IGNORECASE)
_AFTER = re.compile(r"\(\s*after\b", re.IGNORECASE)
_KEY = re.compile(r"^(?P<key>[A-Za-z_]\w*):(?:\s+(?P<value>.*))?$")
_ITEM = re.compile(r"^(?P<lead>\s*-\s+)(?P<text>\S.*)$")
_BLOCK_SCALAR = re.compile(r"^[|>][+-]?\d?[+-]?$")
_BOLD_LEVEL = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One task as the document has it.

    Attributes:
        line: where its block begins, from 1.
        fields: by key; text and lists of text, and the hours as a number.
        agent, phase: of the nearest heading that names one, or None.
    """

    line: int
    fields: dict[str, object]
    agent: str | None
    phase: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseNote:
    """What a document says about one phase.

    Attributes:
        title: its heading.
        gate: the condition after `**Gate:**`, or None.
        is_first: it "must complete first".
        is_after: it comes "(after ...)".
    """

    title: str
    gate: str | None = None
    is_first: bool = False
    is_after: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What was read.

    Attributes:
        title: the first heading, or None.
        phases: by name, in the order in which they appear.
    """

    title: str | None
    blocks: tuple[Block, ...]
    phases: dict[str, PhaseNote]


@dataclass(slots=True)
class _Place:
    """The headings above the line that is read."""

    stack: list[tuple[int, str | None, str | None]] = field(default_factory=list)

    def enter(self, level: int, text: str) -> None:
        agent, phase = find_agent(text), find_phase(text)
        if level == _BOLD_LEVEL:
            if agent is None and phase is None:
                return
            if self.stack and self.stack[-1][0] == level:
                _, old_agent, old_phase = self.stack.pop()
                agent, phase = agent or old_agent, phase or old_phase
        while self.stack and self.stack[-1][0] >= level:
            self.stack.pop()
        self.stack.append((level, agent, phase))

    @property
    def agent(self) -> str | None:
        return next((agent for _, agent, _ in reversed(self.stack) if agent), None)

    @property
    def phase(self) -> str | None:
        return next((phase for _, _, phase in reversed(self.stack) if phase), None)


def find_agent(text: str) -> str | None:
    """Return the agent that a heading names: `Agent-A: ...` and `Agent A` are A."""
    found = _AGENT.search(text)
    return None if found is None else next(group for group in found.groups() if group)


def find_phase(text: str) -> str | None:
    """Return the phase that a heading names, such as 1 for `Phase 1 Tasks`; None of several."""
    names = {found["name"].rstrip(".") for found in _PHASE.finditer(text)}
    return names.pop() if len(names) == 1 else None


def read_document(text: str, *, name: str) -> Document:
    """Read a Markdown document; `name` says in errors where it came from.

    Raises:
        PlanError: a fence is not closed, or a task's block is not YAML; it names the line.
    """
    title: str | None = None
    place = _Place()
    blocks: list[Block] = []
    phases: dict[str, PhaseNote] = {}
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        fence = _FENCE.match(line)
        if fence is not None:
            end = _closing(lines, number, fence, name)
            if fence["language"].lower() in {"yaml", "yml"}:
                body = [_dedent(part, len(fence["indent"])) for part in lines[number + 1 : end]]
                fields = _read_block(body, number + 2, name)
                if fields is not None:
                    block = Block(
                        line=number + 1, fields=fields, agent=place.agent, phase=place.phase
                    )
                    blocks.append(block)
            number = end + 1
            continue
        heading = _HEADING.match(line)
        if heading is not None:
            title = title or heading["text"]
        _note(line, heading, place, phases)
        number += 1
    return Document(title=title, blocks=tuple(blocks), phases=phases)


def _note(
    line: str, heading: re.Match[str] | None, place: _Place, phases: dict[str, PhaseNote]
) -> None:
    """Take over what a line outside of fences says about agent, phase and gate."""
    bold = _BOLD.match(line)
    if bold is not None and _GATE.match(bold["text"].strip()):
        if place.phase is not None:
            old = phases[place.phase]
            gate = bold["rest"].lstrip(": ").strip()
            phases[place.phase] = PhaseNote(
                title=old.title, gate=gate, is_first=old.is_first, is_after=old.is_after
            )
        return
    if heading is not None:
        text = heading["text"]
        place.enter(len(heading["marks"]), text)
    elif bold is not None:
        text = bold["text"]
        place.enter(_BOLD_LEVEL, text)
    else:
        return
    phase = find_phase(text)
    if phase is not None:
        old = phases.get(phase, PhaseNote(title=text.strip(": ")))
        phases[phase] = PhaseNote(
            title=old.title,
            gate=old.gate,
            is_first=old.is_first or bool(_FIRST.search(text)),
            is_after=old.is_after or bool(_AFTER.search(text)),
        )


def _closing(lines: Sequence[str], start: int, fence: re.Match[str], name: str) -> int:
    mark = fence["fence"]
    for number in range(start + 1, len(lines)):
        line = lines[number].strip()
        if line.startswith(mark) and not line.strip(mark[0]):
            return number
    raise PlanError(f"{name}, line {start + 1}: this {mark} is never closed")


def _dedent(line: str, indent: int) -> str:
    return line[indent:] if not line[:indent].strip() else line


def _read_block(lines: Sequence[str], first_line: int, name: str) -> dict[str, object] | None:
    """Return the fields of a task's block, or None when the block is something else."""
    keys = {
        found["key"]: number
        for number, line in enumerate(lines)
        if (found := _KEY.match(re.sub(r"^\s*-\s+", "", line.rstrip())))
    }
    if not keys.keys() & KEYS - {"name", "description"}:
        return None
    try:
        found = yaml.safe_load("\n".join(_repair(lines)))
    except yaml.MarkedYAMLError as error:
        offset = 0 if error.problem_mark is None else error.problem_mark.line
        line = first_line + min(offset, len(lines) - 1)
        raise PlanError(f"{name}, line {line}: not YAML: {error.problem}") from error
    if not isinstance(found, dict) or "task_id" not in found:
        raise PlanError(
            f"{name}, line {first_line}: a task is a mapping with `task_id`, one task a block"
        )
    for key in found:
        if key not in KEYS:
            line = first_line + keys.get(str(key), 0)
            raise PlanError(
                f"{name}, line {line}: unknown key {key!r}: allowed are {', '.join(sorted(KEYS))}"
            )
    return {
        key: _check(key, value, f"{name}, line {first_line + keys.get(key, 0)}")
        for key, value in found.items()
    }


def _check(key: str, value: object, place: str) -> object:
    if key in NUMBER_KEYS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e5:
            raise PlanError(f"{place}: {key} is {value!r}: it must be a number from 0 on")
        return value
    if key in TEXT_KEYS:
        if not isinstance(value, str) or not value.strip():
            raise PlanError(f"{place}: {key} is {value!r}: it must be text")
        return value.strip()
    if value is None or (isinstance(value, str) and value.strip().lower() in {"", "none", "-"}):
        return ()
    items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str | int) for item in items):
        raise PlanError(f"{place}: {key} is {str(value)[:60]!r}: it must be a list of text")
    return tuple(str(item).strip() for item in items)


def _repair(lines: Sequence[str]) -> list[str]:
    """Quote the lines of text that YAML would not read as text; the number of lines stays."""
    repaired: list[str] = []
    key = ""
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        found = _KEY.match(line.rstrip())
        item = _ITEM.match(line.rstrip())
        if found is not None:
            key = found["key"]
            if key in TEXT_KEYS and found["value"]:
                line = f"{key}: {_quote(found['value'], 0, following)}"  # noqa: PLW2901  # the line as it is read
        elif item is not None and key in LIST_KEYS:
            depth = len(item["lead"]) - 2
            line = item["lead"] + _quote(item["text"], depth, following)  # noqa: PLW2901  # the line as it is read
        repaired.append(line)
    return repaired


def _quote(text: str, depth: int, following: str) -> str:
    """Return the text, in quotes unless YAML reads it as text by itself or it goes on below."""
    goes_on = bool(following.strip()) and len(following) - len(following.lstrip()) > depth
    if goes_on and _BLOCK_SCALAR.match(text):
        return text
    try:
        if isinstance(yaml.safe_load(text), str):
            return text
    except yaml.YAMLError:
        pass
    return "'" + text.replace("'", "''") + "'"
