"""What every test may rely on, however the suite was started."""

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def _interrupts_arrive() -> None:
    """Give SIGINT its usual meaning here and in child processes.

    A shell starts its background jobs with SIGINT ignored, and Python then installs no handler.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
