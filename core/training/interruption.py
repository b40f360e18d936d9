"""A request to stop, from Ctrl-C, SIGTERM or the caller; a training looks at it after each step."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Holds the reason to stop, once there is one."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def request(self, reason: str) -> None:
        """Ask for a stop after the current step; the first reason stays."""
        self.reason = self.reason or reason

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as requests; the second one of a kind has its usual effect.

        Outside the main thread Python delivers no signals, and nothing is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # None is a handler that Python did not install and can not put back.
        before = {int(n): signal.getsignal(n) or signal.SIG_DFL for n in _SIGNALS}

        def on_signal(number: int, frame: FrameType | None) -> None:
            del frame
            self.request(f"signal {signal.Signals(number).name}")
            signal.signal(number, before[number])

        for number in _SIGNALS:
            signal.signal(number, on_signal)
        try:
            yield
        finally:
            for number in _SIGNALS:
                signal.signal(number, before[number])
