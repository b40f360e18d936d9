"""The exit codes of every command, and the errors that carry them.

One class a condition; the class docstring is the default message. A message says what happened
(with the value, `{name!r}`), what was allowed, and what to do next.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status means. The one table of them."""

    DONE = 0
    FAILURE = 1
    BAD_INPUT = 2
    NOT_FOUND = 3
    BUSY = 4
    REFUSED = 5
    UNAVAILABLE = 6
    LOST_GUARD = 13
    INTERRUPTED = 130


class ArcFusionError(Exception):
    """Something in ArcFusion went wrong."""

    exit_code: ExitCode = ExitCode.FAILURE
    retryable: bool = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def code(self) -> str:
        """The condition's name in JSON errors: `HomeNotFoundError` -> `home_not_found`."""
        name = type(self).__name__.removesuffix("Error")
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class BadInputError(ArcFusionError):
    """The input is not one that the command accepts."""

    exit_code = ExitCode.BAD_INPUT


class NotFoundError(ArcFusionError):
    """There is nothing of that kind here."""

    exit_code = ExitCode.NOT_FOUND


class BusyError(ArcFusionError):
    """Somebody else is writing; try again."""

    exit_code = ExitCode.BUSY
    retryable = True


class RefusedError(ArcFusionError):
    """A gate or a bar refused it."""

    exit_code = ExitCode.REFUSED


class UnavailableError(ArcFusionError):
    """What the command needs is not available on this machine."""

    exit_code = ExitCode.UNAVAILABLE


class LostGuardError(ArcFusionError):
    """Somebody else holds it now."""

    exit_code = ExitCode.LOST_GUARD


class HomeNotFoundError(BadInputError):
    """There is no lab here: run `arcfusion init` in the directory that should hold it."""


class ForeignDatabaseError(BadInputError):
    """The database is not one that this version of ArcFusion wrote."""


class HomeUnwritableError(BadInputError):
    """The lab's home can not be written."""


class DatabaseBusyError(BusyError):
    """Another process kept the database locked; try again."""


class DatabaseFullError(ArcFusionError):
    """The database's disk is full: nothing was written."""


class DatabaseFailedError(ArcFusionError):
    """The disk failed: check it, then look whether the last write is there."""


class DatabaseUnreachableError(BusyError):
    """The database's server does not answer; try again."""
