"""A request to end, from Ctrl-C or SIGTERM, that no library can lose.

Python raises KeyboardInterrupt wherever the program is just then. Raised in a finalizer, as
SQLAlchemy has them by the hundred, it is printed as ignored and gone: of workers that were asked to
end 0.2 s after their claim one in ten worked on. So the request is also remembered, and raised
again where the worker looks whether it may go on.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """Whether somebody asked for the end."""

    def __init__(self) -> None:
        self._is_asked = False

    def check(self) -> None:
        """Raise the interrupt that was asked for, if one was.

        Raises:
            KeyboardInterrupt: somebody did.
        """
        if self._is_asked:
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Remember SIGINT and SIGTERM, and raise KeyboardInterrupt at each.

        Outside the main thread Python delivers no signals, and nothing is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # None is a handler that Python did not install and can not put back.
        before = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}
        for number in _SIGNALS:
            signal.signal(number, self._end)
        try:
            yield
        finally:
            for number in _SIGNALS:
                signal.signal(number, before[number])

    def _end(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._is_asked = True
        raise KeyboardInterrupt
