"""The seccomp program, run on paper: for both architectures, also the one this machine is not."""

import re
from pathlib import Path

import pytest

from arcfusion.core.sandbox.seccomp import build_program
from arcfusion.core.sandbox.syscalls import ARCHITECTURES

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
PID = 4242
READ = {"x86_64": 0, "aarch64": 63}
HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}


def run(machine, number, arguments=(0, 0), *, allow_fork=False, audit_word=None):
    """What the kernel would answer to a call."""
    architecture = ARCHITECTURES[machine]
    data = {0: number, 4: audit_word or architecture.audit_word}
    for index, argument in enumerate(arguments):
        data[16 + 8 * index] = argument
    program = build_program(architecture, pid=PID, allow_fork=allow_fork)
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        match code:
            case 0x20:
                accumulator = data[value]
            case 0x06:
                return value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case _:
                pytest.fail(f"an unknown instruction {code:#x}")


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request):
    return request.param


@pytest.mark.parametrize(
    "name",
    ["socket", "connect", "ptrace", "process_vm_readv", "mount", "unshare", "setns", "bpf",
     "keyctl", "perf_event_open", "fchmodat", "utimensat", "fsetxattr", "memfd_create", "linkat",
     "symlinkat", "setresuid", "io_uring_setup", "open_by_handle_at", "pidfd_send_signal"],
)  # fmt: skip
def test_a_call_that_leads_out_is_refused(machine, name):
    assert run(machine, ARCHITECTURES[machine].numbers[name]) == EPERM


def test_what_a_training_needs_is_allowed(machine):
    assert run(machine, READ[machine]) == ALLOW
    futex = {"x86_64": 202, "aarch64": 98}[machine]
    assert run(machine, futex) == ALLOW


def test_another_instruction_set_kills_the_process(machine):
    assert run(machine, READ[machine], audit_word=0x40000003) == KILL


def test_x32_and_calls_newer_than_the_table_are_not_implemented(machine):
    assert run(machine, 0x40000000) == ENOSYS
    assert run(machine, 463) == ENOSYS
    assert run(machine, 462) == ALLOW


def test_threads_are_allowed_and_processes_only_on_request(machine):
    clone = ARCHITECTURES[machine].numbers["clone"]
    clone_thread, clone_newuser = 0x00010000, 0x10000000
    assert run(machine, clone, (clone_thread, 0)) == ALLOW
    assert run(machine, clone, (0, 0)) == EPERM
    assert run(machine, clone, (0, 0), allow_fork=True) == ALLOW
    assert run(machine, clone, (clone_newuser | clone_thread, 0), allow_fork=True) == EPERM
    assert run(machine, ARCHITECTURES[machine].numbers["clone3"]) == ENOSYS


def test_signals_and_limits_reach_the_process_itself_only(machine):
    numbers = ARCHITECTURES[machine].numbers
    for name in ("kill", "tgkill"):
        assert run(machine, numbers[name], (PID, 9)) == ALLOW
        assert run(machine, numbers[name], (PID + 1, 9)) == EPERM
    assert run(machine, numbers["prlimit64"], (0, 0)) == ALLOW
    assert run(machine, numbers["prlimit64"], (PID, 0)) == EPERM


def test_dying_with_the_parent_can_not_be_taken_back(machine):
    prctl = ARCHITECTURES[machine].numbers["prctl"]
    set_pdeathsig, set_dumpable, set_name = 1, 4, 15
    assert run(machine, prctl, (set_pdeathsig, 9)) == ALLOW
    assert run(machine, prctl, (set_pdeathsig, 0)) == EPERM
    assert run(machine, prctl, (set_dumpable, 0)) == EPERM
    assert run(machine, prctl, (set_name, 0)) == ALLOW


def test_typing_into_the_terminal_is_refused(machine):
    ioctl = ARCHITECTURES[machine].numbers["ioctl"]
    assert run(machine, ioctl, (0, 0x5412)) == EPERM
    assert run(machine, ioctl, (0, 0x5401)) == ALLOW


def test_the_numbers_are_those_of_the_kernel_headers(machine):
    header = next((path for path in HEADERS[machine] if path.exists()), None)
    if header is None:
        pytest.skip("the kernel's headers are not installed")
    pattern = re.compile(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", re.MULTILINE)
    known = {name: int(number) for name, number in pattern.findall(header.read_text())}
    ours = ARCHITECTURES[machine].numbers
    wrong = {name: ours[name] for name in ours if name in known and known[name] != ours[name]}
    assert wrong == {}
    assert sum(name in known for name in ours) > 70
