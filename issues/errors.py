"""What can go wrong with an issue: one class a condition.

A refusal never says how to take an issue from the one who holds it: agents follow the text of
errors, and a hint about eviction teaches a fleet to evict live workers.
"""

from arcfusion.core.errors import (
    ArcFusionError,
    BadInputError,
    LostGuardError,
    NotFoundError,
    RefusedError,
)


class IssueUnknownError(BadInputError):
    """There is no issue of that id here."""


class IssueExistsError(BadInputError):
    """An issue of that id is there already."""


class IssueClosedError(BadInputError):
    """The issue is closed."""


class FieldError(BadInputError):
    """A field of the issue has a value that is not allowed."""


class TransitionError(BadInputError):
    """The issue can not go from its status to that one."""


class FenceMissingError(BadInputError):
    """The issue is claimed: its holder writes with the fence that the claim gave."""


class HandoffMissingError(BadInputError):
    """A claim is released with a handoff: tried, result and next."""


class QuestionMissingError(BadInputError):
    """A blocked issue says what is unclear: ask a question that a person can answer."""


class DependencyUnknownError(BadInputError):
    """A dependency names nothing that exists."""


class DependencyCycleError(BadInputError):
    """The dependency would make an issue wait for itself."""


class PlanError(BadInputError):
    """The plan file is not a plan."""


class ImportFileError(BadInputError):
    """The file to import is not an export."""


class ExportUnwritableError(BadInputError):
    """The export can not be written there."""


class LeaseConfigError(BadInputError):
    """A lease must outlast three heartbeats."""


class NothingReadyError(NotFoundError):
    """No issue is ready to be claimed."""


class PhaseUnknownError(NotFoundError):
    """No issue is of that phase."""


class MemoryUnknownError(NotFoundError):
    """Nothing is remembered under that key."""


class IssueBlockedError(RefusedError):
    """The issue waits for others."""


class IssueNotReadyError(RefusedError):
    """The issue is not open for work now."""


class ExperimentExistsError(RefusedError):
    """Another issue asks for the same experiment already."""


class IssueTooLargeError(RefusedError):
    """The issue is too large to be claimed: split it into smaller ones."""


class SplitRefusedError(RefusedError):
    """The issue can not be split so."""


class PhaseHeldError(RefusedError):
    """The phase's acceptance does not hold yet."""


class NeedsNotMetError(RefusedError):
    """The issue needs more than this worker offers."""


class PoolFullError(RefusedError):
    """The pool has not enough free GPUs now; it will when its other claims end."""

    retryable = True


class WipLimitError(RefusedError):
    """The worker holds as many issues as it may: it closes or releases one first."""


class OrderTooLargeError(RefusedError):
    """The queue has more dependencies than this order can count."""


class ChildrenOpenError(RefusedError):
    """The issue has open children."""


class EvidenceMissingError(RefusedError):
    """The outcome needs evidence."""


class EvidenceRefusedError(RefusedError):
    """The evidence does not hold."""


class ReplayMismatchError(RefusedError):
    """The event log does not rebuild the tables."""


class QueueDamagedError(RefusedError):
    """The queue's tables break a rule."""


class AlreadyClaimedError(LostGuardError):
    """Somebody else works on the issue: take another one."""


class ClaimLostError(LostGuardError):
    """The claim has ended: stop working on the issue, nothing was written."""


class WriteLostError(ArcFusionError):
    """The database took a write and did nothing: nothing was written."""
