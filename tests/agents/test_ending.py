"""This fails when a worker that was asked to end goes on."""

import signal
import threading

import pytest

from arcfusion.agents.ending import Ending


class Finalized:
    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_a_finalizer_loses_comes_at_the_next_look(number: int) -> None:
    ending = Ending()
    with ending.listening():
        ending.check()
        Finalized(number)  # what it raises is lost
        with pytest.raises(KeyboardInterrupt):
            ending.check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_raised_at_once_and_the_old_handler_put_back(number: int) -> None:
    before = signal.getsignal(number)
    ending = Ending()
    with pytest.raises(KeyboardInterrupt), ending.listening():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_worker_in_a_thread_leaves_the_signals_alone() -> None:
    found = []

    def look() -> None:
        with Ending().listening():
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]
