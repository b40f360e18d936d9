import logging
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

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

# Writes all the time, and is never away for long enough that somebody else would find it gone.
HOG = """
import sys, time
from pathlib import Path
from arcfusion.core.lock import WriterLock
hog = WriterLock(Path(sys.argv[1]))
print("held", flush=True)
while True:
    hog.acquire()
    time.sleep(0.001)
    hog.release()
"""


@pytest.fixture
def start(tmp_path):
    """Start a process that takes the lock, and wait until it has."""
    path = tmp_path / "lab.lock"
    with ExitStack() as stack:

        def run(source, wanted="held"):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", source, str(path)], stdout=subprocess.PIPE, text=True
                )
            )
            stack.callback(process.kill)
            assert wanted is None or process.stdout.readline() == f"{wanted}\n"
            return process

        yield path, run


@pytest.fixture
def holder(start):
    path, run = start
    return path, run(HOLD)


def test_a_killed_writer_leaves_the_lock_to_the_next(holder):
    path, process = holder
    waiting = lock.WriterLock(path)
    process.kill()
    waiting.acquire()
    waiting.release()
    waiting.close()


def test_who_writes_all_the_time_lets_the_others_in(start):
    path, run = start
    hogs = [run(HOG) for _ in range(3)]
    waiting = lock.WriterLock(path)
    for _ in range(20):
        begun = time.monotonic()
        waiting.acquire()
        waiting.release()
        # Three turns before this one, each of which ends when the next in line insists.
        assert time.monotonic() - begun < 1.0
    assert [hog.poll() for hog in hogs] == [None] * 3
    waiting.close()


def wait_until(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_who_waits_longest_is_served_first(tmp_path):
    path = tmp_path / "lab.lock"
    writer = lock.WriterLock(path)
    writer.acquire()
    served = []

    def write(number):
        waiting = lock.WriterLock(path)
        waiting.acquire()
        served.append(number)
        waiting.release()
        waiting.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        wait_until(lambda wanted=number + 1: len(lock._watcher.waits) == wanted)
        time.sleep(0.02)  # from the watch to the kernel's queue
    writer.release()
    for thread in threads:
        thread.join(10)
    assert served == [0, 1, 2, 3, 4]
    writer.close()


@pytest.fixture
def impatient(monkeypatch, caplog):
    """Warn after a short time."""
    monkeypatch.setattr(lock, "WARN_AFTER_S", 0.2)
    monkeypatch.setattr(lock, "_watcher", lock._Watcher())
    with caplog.at_level(logging.WARNING):
        yield caplog


def start_writing(path):
    def write():
        waiting = lock.WriterLock(path)
        waiting.acquire()
        waiting.close()

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_who_waits_for_a_stopped_writer_says_for_whom_and_goes_on_waiting(holder, impatient):
    path, process = holder
    process.send_signal(signal.SIGSTOP)
    thread = start_writing(path)
    wait_until(lambda: impatient.records)
    assert thread.is_alive()
    process.kill()
    thread.join(10)
    assert not thread.is_alive()
    assert [f"process {process.pid} is writing" in r.getMessage() for r in impatient.records] == [
        True
    ]


def test_who_waits_behind_a_stopped_process_says_so_and_goes_on_waiting(start, impatient):
    path, run = start
    writer = lock.WriterLock(path)
    writer.acquire()
    stopped = run(HOLD, wanted=None)
    wait_until(lambda: lock.find_holder(lock._next_path(path)) == stopped.pid)
    stopped.send_signal(signal.SIGSTOP)
    thread = start_writing(path)
    wait_until(lambda: lock._watcher.waits)
    writer.release()
    wait_until(lambda: impatient.records)
    assert thread.is_alive()
    # Who finds nobody writing does not get in line.
    writer.acquire()
    writer.release()
    writer.close()
    stopped.kill()
    thread.join(10)
    assert not thread.is_alive()
    said = f"process {stopped.pid} is next and does not go on"
    assert [said in r.getMessage() for r in impatient.records] == [True]
