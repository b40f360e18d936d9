"""How large an issue is: the assessment matrix, from an estimate in minutes to S, M, L or XL.

S is below half an hour, M up to two hours, L up to six; whatever is longer is XL and must be split.
"""

from arcfusion.issues.states import Size

# The longest estimate of each size in minutes, the limit included; S ends before 30.
LIMIT_MINUTES = {Size.S: 30.0, Size.M: 120.0, Size.L: 360.0}

_SMALLER = {Size.XL: Size.L, Size.L: Size.M, Size.M: Size.S}


def size_of(minutes: float) -> Size:
    """Return the size of work that takes so many minutes."""
    if minutes < LIMIT_MINUTES[Size.S]:
        return Size.S
    if minutes <= LIMIT_MINUTES[Size.M]:
        return Size.M
    return Size.L if minutes <= LIMIT_MINUTES[Size.L] else Size.XL


def smaller(size: Size) -> Size | None:
    """Return the next smaller size; None below S."""
    return _SMALLER.get(size)


def is_smaller(size: Size, other: Size) -> bool:
    """Return whether `size` is below `other`."""
    order = list(Size)
    return order.index(size) < order.index(other)
