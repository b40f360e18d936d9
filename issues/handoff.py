"""What the next worker must know: written at a release, a checkpoint or a close."""

import json
from dataclasses import asdict, dataclass, replace

from arcfusion.issues.errors import HandoffMissingError

MAX_FIELD_CHARACTERS = 400
MAX_FILES = 8
_CUT = " ... (cut; see state_ref)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    """What was tried, what came out, and what comes next.

    Attributes:
        files: paths that matter, the most important first.
        state_ref: where the whole state lies, such as a commit or a run's directory.

    Raises:
        HandoffMissingError: tried, result or next is empty.
    """

    tried: str
    result: str
    next: str
    files: tuple[str, ...] = ()
    state_ref: str = ""

    def __post_init__(self) -> None:
        empty = [name for name in ("tried", "result", "next") if not getattr(self, name).strip()]
        if empty:
            raise HandoffMissingError(
                f"the handoff has no {' and no '.join(empty)}: say what was tried, its result and "
                "what comes next"
            )

    def fit(self) -> "Handoff":
        """Return it cut on the edges of its fields, so that a claim's answer stays small."""
        return replace(
            self,
            tried=_cut(self.tried),
            result=_cut(self.result),
            next=_cut(self.next),
            state_ref=self.state_ref[:MAX_FIELD_CHARACTERS],
            files=tuple(name[:MAX_FIELD_CHARACTERS] for name in self.files[:MAX_FILES]),
        )

    def to_json(self) -> str:
        """Return the text that is stored."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Handoff":
        """Read back what `to_json` wrote."""
        fields = json.loads(text)
        return cls(**(fields | {"files": tuple(fields["files"])}))


def _cut(text: str) -> str:
    if len(text) <= MAX_FIELD_CHARACTERS:
        return text
    return text[: MAX_FIELD_CHARACTERS - len(_CUT)] + _CUT
