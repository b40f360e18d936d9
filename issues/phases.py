"""Whether a phase's acceptance holds: every issue that carries its label is closed as done."""

from collections.abc import Sequence
from dataclasses import dataclass

from arcfusion.issues.draft import Json
from arcfusion.issues.errors import PhaseUnknownError
from arcfusion.issues.record import IssueRecord
from arcfusion.issues.states import Outcome, Status
from arcfusion.issues.view import View

PHASE_LABEL = "phase:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdup:
    """An issue that keeps a phase's gate shut, with the reasons in words."""

    issue: IssueRecord
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseGate:
    """The state of a phase.

    Attributes:
        issues: the number of the phase's issues.
        done: how many of them are closed as done.
        holdups: the others, in working order.
    """

    phase: str
    issues: int
    done: int
    holdups: tuple[Holdup, ...]

    @property
    def holds(self) -> bool:
        """Whether the next phase may start."""
        return not self.holdups

    def to_json(self) -> dict[str, Json]:
        """Return the gate as `--json` prints it."""
        return {
            "phase": self.phase,
            "holds": self.holds,
            "issues": self.issues,
            "done": self.done,
            "held_up_by": [
                {
                    "id": holdup.issue.id,
                    "reference": holdup.issue.external_ref,
                    "title": holdup.issue.title,
                    "status": holdup.issue.status,
                    "outcome": holdup.issue.outcome,
                    "reasons": [*holdup.reasons],
                }
                for holdup in self.holdups
            ],
        }


def read_gate(view: View, phase: str) -> PhaseGate:
    """Return the state of a phase; its name is given with or without `phase:`.

    Raises:
        PhaseUnknownError: no issue carries its label; the message lists the phases there are.
    """
    name = phase.removeprefix(PHASE_LABEL)
    issues = view.list(labels=[PHASE_LABEL + name])
    if not issues:
        known = ", ".join(phases(view.list())) or "none"
        raise PhaseUnknownError(
            f"no issue has the label '{PHASE_LABEL}{name}': the phases here are {known}"
        )
    holdups = [
        Holdup(issue=issue, reasons=_reasons(view, issue))
        for issue in issues
        if issue.outcome is not Outcome.DONE
    ]
    return PhaseGate(
        phase=name, issues=len(issues), done=len(issues) - len(holdups), holdups=tuple(holdups)
    )


def phases(issues: Sequence[IssueRecord]) -> list[str]:
    """Return the names of the phases that the issues belong to, sorted."""
    return sorted(
        {
            label.removeprefix(PHASE_LABEL)
            for issue in issues
            for label in issue.labels
            if label.startswith(PHASE_LABEL)
        }
    )


def _reasons(view: View, issue: IssueRecord) -> tuple[str, ...]:
    if issue.status is Status.CLOSED:
        return (f"{issue.id} was closed as {issue.outcome}, not as done",)
    return tuple(view.explain(issue.id)) or (f"{issue.id} is {issue.status.replace('_', ' ')}",)
