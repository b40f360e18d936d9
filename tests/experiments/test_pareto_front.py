import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcfusion.experiments.pareto import find_front

# Few values, so that ties and equal points are common.
_VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.inf, math.nan])


def _brute_force(points):
    def dominates(p, q):
        return all(x <= y for x, y in zip(p, q, strict=True)) and p != q

    clean = {i: tuple(p) for i, p in enumerate(points) if not any(math.isnan(x) for x in p)}
    return [i for i, p in clean.items() if not any(dominates(q, p) for q in clean.values())]


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_the_front_is_that_of_brute_force(dimensions, data):
    points = data.draw(st.lists(st.tuples(*[_VALUES] * dimensions), max_size=12))
    assert find_front(points) == _brute_force(points)


def test_equal_points_are_all_kept():
    assert find_front([(1, 2), (1, 2), (2, 1), (2, 2)]) == [0, 1, 2]


def test_a_point_that_was_not_measured_is_neither_kept_nor_dominates():
    assert find_front([(math.nan, 0.0), (1.0, 1.0)]) == [1]


def test_points_of_different_length_are_refused():
    with pytest.raises(ValueError, match="coordinates"):
        find_front([(1,), (1, 2)])


def test_nothing_has_an_empty_front():
    assert find_front([]) == []
