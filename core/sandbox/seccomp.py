"""A seccomp deny-list as a BPF program built by hand, and its installation.

What a trained model needs (memory, threads, files that Landlock allows, the pipe it was given)
stays; sockets, other processes, privileges, metadata of files, kernel interfaces and new namespaces
go.

Source: the kernel's Documentation/userspace-api/seccomp_filter.rst; the list of probes that such a
filter has to refuse.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from typing import NamedTuple

from arcfusion.core.sandbox.syscalls import FIRST_UNKNOWN, Architecture

EPERM, ENOSYS = 1, 38
_LOAD, _JEQ, _JGE, _JSET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_OFFSET, _ARCH_OFFSET, _ARGUMENT_OFFSET = 0, 4, 16
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x00010000
# NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_CLONE_NEW = 0x7E020000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# PR_SET_DUMPABLE, PR_SET_MM, PR_SET_CHILD_SUBREAPER: each hides from the watchdog
_DENIED_PRCTL = (4, 35, 36)
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_CHECKED = frozenset({"clone", "clone3", "kill", "tgkill", "prctl", "prlimit64", "ioctl"})
_LANDLOCK = frozenset({"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"})
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2


class Instruction(NamedTuple):
    """One `struct sock_filter`."""

    code: int
    if_true: int
    if_false: int
    value: int


def build_program(
    architecture: Architecture, *, pid: int, allow_fork: bool
) -> tuple[Instruction, ...]:
    """The filter for one process.

    Args:
        architecture: whose numbers it uses; a call of another architecture kills the process.
        pid: the process that will be filtered; it may send signals to itself only.
        allow_fork: whether it may make processes (threads are always allowed).
    """
    numbers = architecture.numbers
    program = [
        Instruction(_LOAD, 0, 0, _ARCH_OFFSET),
        Instruction(_JEQ, 1, 0, architecture.audit_word),
        Instruction(_RETURN, 0, 0, _KILL),
        Instruction(_LOAD, 0, 0, _NUMBER_OFFSET),
        Instruction(_JGE, 0, 1, _X32_BIT),
        _refuse(ENOSYS),
        Instruction(_JGE, 0, 1, FIRST_UNKNOWN),
        _refuse(ENOSYS),
    ]
    forks = {"fork", "vfork"} if allow_fork else set()
    for name, number in sorted(numbers.items()):
        if name not in _CHECKED | _LANDLOCK | forks:
            program += [Instruction(_JEQ, 0, 1, number), _refuse(EPERM)]
    # glibc falls back to clone, whose flags a filter can read
    program += [Instruction(_JEQ, 0, 1, numbers["clone3"]), _refuse(ENOSYS)]
    clone = [Instruction(_JSET, 0, 1, _CLONE_NEW), _refuse(EPERM)]
    if not allow_fork:
        clone += [Instruction(_JSET, 1, 0, _CLONE_THREAD), _refuse(EPERM)]
    program += _case(numbers["clone"], 0, clone)
    for name in ("kill", "tgkill"):
        program += _case(numbers[name], 0, [Instruction(_JEQ, 1, 0, pid), _refuse(EPERM)])
    program += _case(numbers["prlimit64"], 0, [Instruction(_JEQ, 1, 0, 0), _refuse(EPERM)])
    # to die with the parent may be asked for again (after a fork), never taken back
    death = [
        Instruction(_JEQ, 0, 4, _PR_SET_PDEATHSIG),
        Instruction(_LOAD, 0, 0, _ARGUMENT_OFFSET + 8),
        Instruction(_JEQ, 1, 0, _SIGKILL),
        _refuse(EPERM),
        Instruction(_RETURN, 0, 0, _ALLOW),
    ]
    program += _case(numbers["prctl"], 0, [*_refuse_values(_DENIED_PRCTL), *death])
    program += _case(numbers["ioctl"], 1, _refuse_values((_TIOCSTI, _TIOCLINUX)))
    return (*program, Instruction(_RETURN, 0, 0, _ALLOW))


def install(program: Iterable[Instruction], libc: ctypes.CDLL) -> None:
    """Filter this process and all it starts, for ever.

    Raises:
        OSError: the kernel refused (no seccomp, or no_new_privs is not set).
    """
    raw = b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    header = struct.pack("@HP", len(raw) // 8, ctypes.addressof(buffer))
    argument = ctypes.create_string_buffer(header, len(header))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, argument, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _refuse(number: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, _ERRNO | number)


def _refuse_values(values: Iterable[int]) -> list[Instruction]:
    return [part for value in values for part in (Instruction(_JEQ, 0, 1, value), _refuse(EPERM))]


def _case(number: int, argument: int, checks: list[Instruction]) -> list[Instruction]:
    """If the call is `number`: load the low word of an argument, run `checks`, then allow."""
    body = [
        Instruction(_LOAD, 0, 0, _ARGUMENT_OFFSET + 8 * argument),
        *checks,
        Instruction(_RETURN, 0, 0, _ALLOW),
    ]
    return [Instruction(_JEQ, 0, len(body), number), *body]
