"""Attacks on the machine's resources: each ends with the right reason, and nothing survives."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from arcfusion.core.sandbox.launcher import package_root, spawn_confined
from arcfusion.core.sandbox.limits import MEBIBYTE, Limits
from arcfusion.core.sandbox.process_tree import is_running
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.sandbox.tier import detect_tier
from arcfusion.core.sandbox.watchdog import supervise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the watchdog reads /proc")

LIMITS = Limits(
    wall_s=15,
    cpu_s=10,
    memory_bytes=200 * MEBIBYTE,
    disk_bytes=20 * MEBIBYTE,
    processes=8,
    output_bytes=MEBIBYTE,
)


@pytest.fixture(params=[Tier.WEAK, Tier.GOOD])
def tier(request):
    if detect_tier().tier < request.param:
        pytest.skip(f"no such confinement here: {detect_tier().reason}")
    return request.param


def start(tmp_path, code, limits, tier):
    work = tmp_path / "work"
    work.mkdir()
    return spawn_confined(
        [sys.executable, "-I", "-S", "-c", code],
        workdir=work,
        readable=[],
        writable=[work],
        limits=limits,
        tier=tier,
        output_path=tmp_path / "log",
    )


def marked_processes(mark):
    """The processes with this word in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_running(int(entry.name)):
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in command and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


ATTACKS = {
    "memory": "l = []\nwhile True: l.append(bytearray(b'x' * (1 << 22)))",
    "disk": "n = 0\nwhile True:\n n += 1\n open(f'f{n}', 'wb').write(b'x' * (1 << 20))",
    "output": "while True: print('x' * 10000)",
    "processes": "import os, time\nfor _ in range(60): os.fork() or time.sleep(60)\ntime.sleep(60)",
}


@pytest.mark.parametrize("reason", ATTACKS)
def test_an_attack_ends_with_its_reason_and_without_survivors(tmp_path, tier, reason):
    mark = f"attack-{os.getpid()}-{reason}-{tier}"
    confined = start(tmp_path, f"# {mark}\n{ATTACKS[reason]}", LIMITS, tier)
    ending = supervise(confined, interval_s=0.05)
    assert ending.reason == reason
    assert ending.survivors == 0
    assert marked_processes(mark) == []


def test_disk_that_is_deleted_but_open_counts(tmp_path, tier):
    code = (
        "import os\nl = []\nwhile True:\n"
        " f = open('f', 'wb'); f.write(b'x' * (1 << 20)); f.flush(); l.append(f); os.unlink('f')"
    )
    assert supervise(start(tmp_path, code, LIMITS, tier), interval_s=0.05).reason == "disk"


def test_a_program_that_sleeps_and_ignores_signals_ends_at_the_wall_limit(tmp_path, tier):
    code = (
        "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)"
    )
    ending = supervise(start(tmp_path, code, replace(LIMITS, wall_s=0.5), tier), interval_s=0.05)
    assert ending.reason == "wall"
    assert ending.elapsed_s < 2.5
    assert ending.returncode == -signal.SIGKILL


def test_a_busy_loop_ends_at_the_limit_of_processor_time(tmp_path, tier):
    ending = supervise(start(tmp_path, "while True: pass", replace(LIMITS, cpu_s=1), tier))
    assert ending.reason == "cpu"


def test_a_daemon_does_not_outlive_the_program(tmp_path, tier):
    mark = f"daemon-{os.getpid()}-{tier}"
    code = (
        f"# {mark}\nimport os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: time.sleep(60)\n"
        "    os._exit(0)\n"
        "time.sleep(0.3)"
    )
    ending = supervise(start(tmp_path, code, LIMITS, tier), interval_s=0.05)
    assert ending.reason == "exited"
    assert ending.survivors == 0
    assert marked_processes(mark) == []


def test_one_process_is_the_limit_unless_more_are_allowed(tmp_path, tier):
    code = "import os, time\nos.fork()\ntime.sleep(20)"
    ending = supervise(start(tmp_path, code, replace(LIMITS, processes=1), tier))
    if tier == Tier.GOOD:
        assert ending.reason == "exited"
        assert "PermissionError" in (tmp_path / "log").read_text()
    else:
        assert ending.reason == "processes"


def test_a_peak_of_memory_is_reported_for_a_program_within_its_limits(tmp_path, tier):
    code = "x = bytearray(b'x' * (80 << 20)); import time; time.sleep(0.5)"
    ending = supervise(start(tmp_path, code, LIMITS, tier), interval_s=0.05)
    assert ending.reason == "exited"
    assert ending.returncode == 0
    assert 80 * MEBIBYTE < ending.peak_memory_bytes < 200 * MEBIBYTE


def test_cancelling_ends_the_program(tmp_path, tier):
    confined = start(tmp_path, "import time; time.sleep(60)", LIMITS, tier)
    ending = supervise(confined, is_cancelled=lambda: True, interval_s=0.05)
    assert ending.reason == "cancelled"
    assert confined.process.returncode == -signal.SIGKILL


def test_the_program_dies_with_its_supervisor(tmp_path, tier):
    mark = f"orphan-{os.getpid()}-{tier}"
    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(package_root())!r})
from arcfusion.core.sandbox.launcher import spawn_confined
from arcfusion.core.sandbox.limits import Limits
from arcfusion.core.sandbox.strength import Tier
work = Path({str(tmp_path)!r})
target = "# {mark}\\nprint('up', flush=True)\\nimport time; time.sleep(60)"
spawn_confined(
    [sys.executable, "-I", "-S", "-c", target],
    workdir=work,
    readable=[],
    writable=[work],
    limits=Limits(wall_s=60, cpu_s=60, memory_bytes=10**9, disk_bytes=10**9),
    tier=Tier({tier.value!r}),
    output_path=work / "log",
)
time.sleep(60)
"""
    supervisor = subprocess.Popen([sys.executable, "-I", "-c", code])
    deadline = time.monotonic() + 20
    log = tmp_path / "log"
    while not (log.exists() and "up" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    supervisor.kill()
    supervisor.wait()
    while marked_processes(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert marked_processes(mark) == []
