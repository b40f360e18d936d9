"""How much a confined process tree may use."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from arcfusion.core.errors import BadInputError

MEBIBYTE = 1 << 20


class BadLimitsError(BadInputError):
    """The limits of a confined process are not usable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds of one confined process tree; the watchdog enforces them from outside.

    Attributes:
        wall_s: seconds by the monotonic clock from start to end.
        cpu_s: processor seconds of one process (RLIMIT_CPU).
        memory_bytes: resident memory of the whole tree, shared pages counted once.
        disk_bytes: bytes in the writable directories, and the largest single file.
        processes: processes in the tree; 1 forbids fork (threads are free).
        output_bytes: bytes written to standard output and error together.
    """

    wall_s: float
    cpu_s: int
    memory_bytes: int
    disk_bytes: int
    processes: int = 1
    output_bytes: int = 4 * MEBIBYTE

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadLimitsError(f"limit {name} is {value!r}: it must be a positive number")
            if not math.isfinite(value) or value <= 0:
                raise BadLimitsError(f"limit {name} is {value!r}: it must be a positive number")

    def to_dict(self) -> dict[str, float | int]:
        """The limits as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, float | int]) -> "Limits":
        """Read `to_dict` back.

        Raises:
            BadLimitsError: a field is missing, unknown or not a positive number.
        """
        try:
            limits = cls(**dict(values))  # type: ignore[arg-type]  # checked just below
        except TypeError as error:
            raise BadLimitsError(f"limits {dict(values)!r} are not usable: {error}") from error
        return cls(
            wall_s=float(limits.wall_s),
            cpu_s=int(limits.cpu_s),
            memory_bytes=int(limits.memory_bytes),
            disk_bytes=int(limits.disk_bytes),
            processes=int(limits.processes),
            output_bytes=int(limits.output_bytes),
        )
