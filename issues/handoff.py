"""What the next worker must know: written at a release, a checkpoint or a close."""

import json
from bisect import bisect_right
from dataclasses import asdict, dataclass, replace

from arcfusion.issues.errors import HandoffMissingError
from arcfusion.issues.excerpt import cut, json_size

MAX_BYTES = 2048
_MAX_POINTER_BYTES = 400
_LEAST_BYTES = 200  # of a field: all of them with the pointer are then below the limit
_OPTIONAL = ("question", "answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    """What was tried, what came out, and what comes next.

    Attributes:
        files: paths that matter, the most important first.
        state_ref: where the whole state lies, such as a commit or a run's directory.
        question: what its writer asked a person.
        answer: what the person said.

    Raises:
        HandoffMissingError: tried, result or next is empty.
    """

    tried: str
    result: str
    next: str
    files: tuple[str, ...] = ()
    state_ref: str = ""
    question: str = ""
    answer: str = ""

    def __post_init__(self) -> None:
        empty = [name for name in ("tried", "result", "next") if not getattr(self, name).strip()]
        if empty:
            raise HandoffMissingError(
                f"the handoff has no {' and no '.join(empty)}: say what was tried, its result and "
                "what comes next"
            )

    def fit(self) -> "Handoff":
        """Return it in at most 2 KB of JSON: no field is dropped, and a cut one says so.

        Short fields stay whole; the long ones share what is left, and end in a pointer to where the
        rest is.
        """
        if len(self.to_json()) <= MAX_BYTES:
            return self
        bounds = range(_LEAST_BYTES, MAX_BYTES)
        size = bisect_right(bounds, MAX_BYTES, key=lambda n: len(self._bounded(n).to_json()))
        return self._bounded(bounds[max(size - 1, 0)])

    def to_json(self) -> str:
        """Return the text that is stored."""
        fields = asdict(self)
        return json.dumps(
            {name: value for name, value in fields.items() if value or name not in _OPTIONAL},
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> "Handoff":
        """Read back what `to_json` wrote."""
        fields = json.loads(text)
        return cls(**(fields | {"files": tuple(fields["files"])}))

    def _bounded(self, size: int) -> "Handoff":
        """Return it with each text, and all names of files together, in so many bytes."""
        place = "see state_ref" if self.state_ref else "it has no state_ref"
        mark = f" ... (cut; {place})"
        said = " ... (cut; see the comments)"
        return replace(
            self,
            tried=cut(self.tried, size, mark),
            result=cut(self.result, size, mark),
            next=cut(self.next, size, mark),
            question=cut(self.question, size, said),
            answer=cut(self.answer, size, said),
            state_ref=cut(self.state_ref, _MAX_POINTER_BYTES),
            files=_first_files(self.files, size, place),
        )


def _first_files(names: tuple[str, ...], size: int, place: str) -> tuple[str, ...]:
    """Return the first names that fit, each whole, and how many are left out."""
    frame = len('"", ')
    used, kept = 0, 0
    for name in names:
        used += json_size(name) + frame
        if used > size:
            break
        kept += 1
    if kept == len(names):
        return names
    rest = f"({{}} more; {place})"
    room = size - len(rest) - len(str(len(names))) - frame
    while kept and sum(json_size(name) + frame for name in names[:kept]) > room:
        kept -= 1
    return (*names[:kept], rest.format(len(names) - kept))
