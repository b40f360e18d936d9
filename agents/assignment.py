"""What a worker is given, what it decides to measure, and what it found: the values of the loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field

from arcfusion.agents.session import SessionLog
from arcfusion.core.home import Home
from arcfusion.core.store import Guard

if TYPE_CHECKING:
    from arcfusion.core.sandbox.strength import Tier
    from arcfusion.experiments.candidate import Candidate
    from arcfusion.experiments.protocol import Protocol
    from arcfusion.issues.evidence import Evidence
    from arcfusion.issues.queue import Queue
    from arcfusion.issues.record import Claim
    from arcfusion.issues.states import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A claimed issue and the means to work on it.

    Attributes:
        home: the lab.
        queue: opened by the worker's main thread, for its writes.
        claim: the issue and the fence that goes with every write.
        actor: the worker's name.
        seed: of dreams and, as the first of consecutive ones, of trainings.
        parallel: trainings at the same time.
        tier: the weakest sandbox for generated code.
        log: the session's turns.
        check: raises when the claim is lost or the worker was asked to stop; called often.
        guard: of every write: it raises when the claim has ended, in the write's transaction.
        say: tells the person who watches.
    """

    home: Home
    queue: "Queue"
    claim: "Claim"
    actor: str
    seed: int
    parallel: int
    tier: "Tier"
    log: SessionLog
    check: Callable[[], None]
    guard: Guard
    say: Callable[[str], None]


class Entry(BaseModel):
    """One architecture of a plan.

    Attributes:
        name: unique in the plan.
        spec: the ArchSpec as YAML.
        origin: where it comes from, such as "preset" or "dream: mutate".
        reasoning: why it is measured.
        parents: names of what it was made from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    spec: str
    origin: str
    reasoning: str
    parents: tuple[str, ...] = ()


class Plan(BaseModel):
    """What will be measured, stored before anything is launched.

    Attributes:
        question: the issue's title.
        protocol: name of a preset.
        seeds: of the trainings, the same for each entry.
        entries: the first is the baseline.
        hypothesis: id of the hypothesis under test.
        replica: which repetition of the same trainings; 0 is the first one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    protocol: str
    seeds: tuple[int, ...] = Field(min_length=2)
    entries: tuple[Entry, ...] = Field(min_length=2)
    hypothesis: str | None = None
    replica: int = Field(0, ge=0)

    @classmethod
    def from_document(cls, document: dict[str, object]) -> Self:
        """Read a stored plan."""
        return cls.model_validate(document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the middle of the loop hands to its end."""

    plan: Plan
    protocol: "Protocol"
    candidates: "tuple[Candidate, ...]"
    refused: dict[str, str]
    run_ids: tuple[str, ...]
    comparison_ids: tuple[str, ...]
    insight_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How the work on an issue ended.

    Attributes:
        outcome: what the issue is closed with.
        reason: one sentence with the verdicts.
        evidence: runs and the commit on the branch; checked when the issue is closed.
        run_ids: every run that it stands on.
        insight_ids: claims made.
        issue_ids: next experiments filed.
        branch: for review; None without a git repository.
        commit: tip of the branch.
    """

    outcome: "Outcome"
    reason: str
    evidence: "tuple[Evidence, ...]"
    run_ids: tuple[str, ...] = ()
    insight_ids: tuple[str, ...] = ()
    issue_ids: tuple[str, ...] = ()
    branch: str | None = None
    commit: str | None = None
