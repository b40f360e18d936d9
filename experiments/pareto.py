"""The exact Pareto front of a set of points, every coordinate to be minimised."""

import math
from collections.abc import Sequence


def find_front(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the points that no other point dominates, in the given order.

    A point dominates another when it is nowhere larger and somewhere smaller. Equal points do not
    dominate each other: a tie is kept whole. A point with a NaN was not measured: it is never on
    the front and dominates nothing. Infinity is a value like any other.

    Raises:
        ValueError: the points have different numbers of coordinates.
    """
    if len({len(point) for point in points}) > 1:
        raise ValueError("the points have different numbers of coordinates")
    measured = [i for i, point in enumerate(points) if not any(math.isnan(x) for x in point)]
    # A dominating point sorts before the dominated one, and whoever is dominated is dominated by
    # a point of the front, so the front so far is all that has to be looked at.
    front: list[int] = []
    for i in sorted(measured, key=lambda index: tuple(points[index])):
        if not any(_dominates(points[j], points[i]) for j in front):
            front.append(i)
    return sorted(front)


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(
        x < y for x, y in zip(a, b, strict=True)
    )
