"""Training time, when the one who says when it trains can not be trusted."""

import pytest

from arcfusion.experiments.runner.stopwatch import FREE_REST_S, TrainingStopwatch


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def test_only_training_counts(clock):
    watch = TrainingStopwatch(free_rests=5, now_s=clock)
    clock.now_s += 3
    watch.start()
    clock.now_s += 10
    watch.stop()
    clock.now_s += 1
    watch.start()
    clock.now_s += 5
    assert watch.seconds == pytest.approx(15)


def test_a_rest_while_the_supervisor_scores_is_free_however_long(clock):
    watch = TrainingStopwatch(free_rests=5, now_s=clock)
    watch.start()
    watch.stop()
    clock.now_s += 500
    watch.exclude(500)
    watch.start()
    assert watch.seconds == pytest.approx(0)


def test_training_that_is_called_a_rest_counts(clock):
    watch = TrainingStopwatch(free_rests=5, now_s=clock)
    watch.start()
    watch.stop()
    clock.now_s += 100
    watch.start()
    assert watch.seconds == pytest.approx(100 - FREE_REST_S)


def test_more_rests_than_the_settings_explain_count(clock):
    watch = TrainingStopwatch(free_rests=2, now_s=clock)
    watch.start()
    for _ in range(10):
        watch.stop()
        clock.now_s += 1
        watch.start()
    assert watch.seconds == pytest.approx(8)


def test_saying_it_twice_changes_nothing(clock):
    watch = TrainingStopwatch(free_rests=2, now_s=clock)
    watch.stop()
    watch.start()
    clock.now_s += 2
    watch.start()
    clock.now_s += 2
    watch.stop()
    watch.stop()
    assert watch.seconds == pytest.approx(4)


def test_the_time_of_earlier_attempts_is_added(clock):
    watch = TrainingStopwatch(free_rests=2, now_s=clock)
    watch.start()
    watch.resume_at(40)
    clock.now_s += 2
    assert watch.seconds == pytest.approx(42)


def test_a_long_start_is_training_under_another_name(clock):
    watch = TrainingStopwatch(free_rests=1, now_s=clock)
    watch.arm()
    clock.now_s += FREE_REST_S + 7
    watch.start()
    clock.now_s += 2
    assert watch.seconds == pytest.approx(9)
