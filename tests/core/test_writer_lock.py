import logging
import signal
import subprocess
import sys
import threading
import time

import pytest

from arcfusion.core import lock

HOLD = """
import sys, time
from pathlib import Path
from arcfusion.core.lock import WriterLock
held = WriterLock(Path(sys.argv[1]))
held.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / "lab.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_killed_writer_leaves_the_lock_to_the_next(holder):
    path, process = holder
    waiting = lock.WriterLock(path)
    process.kill()
    waiting.acquire()
    waiting.release()
    waiting.close()


def test_who_waits_for_a_stopped_writer_says_for_whom_and_goes_on_waiting(
    holder, monkeypatch, caplog
):
    path, process = holder
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(lock, "WARN_AFTER_S", 0.2)
    monkeypatch.setattr(lock, "_watcher", lock._Watcher())
    done = threading.Event()

    def write():
        waiting = lock.WriterLock(path)
        waiting.acquire()
        done.set()
        waiting.close()

    with caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=write)
        thread.start()
        until = time.monotonic() + 10
        while not caplog.records and time.monotonic() < until:
            time.sleep(0.02)
        assert not done.is_set()
        process.kill()
        thread.join(10)
    assert done.is_set()
    assert [f"process {process.pid} is writing" in r.getMessage() for r in caplog.records] == [True]
