"""What became of an issue's earlier attempts, short enough to go with every claim."""

from dataclasses import dataclass

from arcfusion.core.database import Connection
from arcfusion.issues.draft import Json
from arcfusion.issues.excerpt import cut
from arcfusion.issues.states import AttemptOutcome

MAX_ERROR_BYTES = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSummary:
    """How the attempts before a claim ended.

    Attributes:
        attempts: their number, the one that begins included.
        outcomes: how many of the ended ones ended in which way.
        last_error: of the newest failed one, in at most 300 bytes of JSON.
    """

    attempts: int
    outcomes: dict[AttemptOutcome, int]
    last_error: str | None

    def __str__(self) -> str:
        ends = ", ".join(f"{number} {outcome}" for outcome, number in self.outcomes.items())
        return ends if self.last_error is None else f"{ends}; last error: {self.last_error}"

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them."""
        return {
            "attempts": self.attempts,
            "outcomes": {str(outcome): number for outcome, number in self.outcomes.items()},
            "last_error": self.last_error,
        }


def summarise(connection: Connection, issue_id: str, attempts: int) -> AttemptSummary:
    """Return how the issue's ended attempts ended; `attempts` is their number with this one."""
    if attempts == 1:
        return AttemptSummary(attempts=1, outcomes={}, last_error=None)
    outcomes: dict[AttemptOutcome, int] = {}
    last_error = None
    for outcome, error in connection.execute(
        "SELECT outcome, error FROM attempt WHERE issue_id = ? AND outcome IS NOT NULL"
        " ORDER BY fence",
        (issue_id,),
    ):
        ended = AttemptOutcome(outcome)
        outcomes[ended] = outcomes.get(ended, 0) + 1
        last_error = error or last_error
    shown = None if last_error is None else cut(last_error, MAX_ERROR_BYTES)
    return AttemptSummary(attempts=attempts, outcomes=outcomes, last_error=shown)
