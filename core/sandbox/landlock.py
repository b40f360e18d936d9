"""Landlock: what a process may open, create, run and connect to, as an allow-list of paths.

Source: the kernel's Documentation/userspace-api/landlock.rst (ABI 1 to 7).
"""

import ctypes
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_VERSION_FLAG = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ABI_1_RIGHTS = (1 << 13) - 1
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _READ_FILE | _READ_DIR
# no symbolic links, sockets, fifos or devices: whoever collects the files should meet none
_WRITE = (
    _READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER
)
_NET_RIGHTS = 0b11  # bind and connect TCP
_SCOPES = 0b11  # abstract unix sockets and signals


def read_abi(libc: ctypes.CDLL) -> int:
    """The kernel's Landlock ABI; 0 when there is none."""
    return max(0, int(libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)))


def handled_rights(abi: int) -> int:
    """All file system rights that a kernel of this ABI can refuse."""
    rights = _ABI_1_RIGHTS
    if abi >= 2:
        rights |= _REFER
    if abi >= 3:
        rights |= _TRUNCATE
    if abi >= 5:
        rights |= _IOCTL_DEV
    return rights


def restrict(
    libc: ctypes.CDLL,
    *,
    readable: Sequence[Path],
    writable: Sequence[Path],
    executable: Sequence[Path],
) -> int:
    """Refuse everything that is not listed, for this process and all it starts.

    Paths that do not exist are left out (a system without /lib64 has nothing to allow there).

    Returns:
        The ABI that is in force.

    Raises:
        OSError: the kernel has no Landlock, or refused a rule.
    """
    abi = read_abi(libc)
    if abi < 1:
        raise OSError("Landlock: not in this kernel")
    handled = handled_rights(abi)
    attributes = struct.pack(
        "<QQQ", handled, _NET_RIGHTS if abi >= 4 else 0, _SCOPES if abi >= 6 else 0
    )
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _check(int(libc.syscall(_CREATE_RULESET, attributes, size, 0)), "create_ruleset")
    try:
        for paths, rights in ((readable, _READ), (writable, _WRITE), (executable, _EXECUTE)):
            for path in paths:
                _allow(libc, ruleset, path, rights & handled)
        _check(int(libc.syscall(_RESTRICT_SELF, ruleset, 0)), "restrict_self")
    finally:
        os.close(ruleset)
    return abi


def forbid_writing(libc: ctypes.CDLL) -> None:
    """Take every right to change files from this process, beside what was refused before.

    Raises:
        OSError: the kernel refused.
    """
    handled = handled_rights(read_abi(libc)) & ~(_READ | _EXECUTE)
    ruleset = _check(
        int(libc.syscall(_CREATE_RULESET, struct.pack("<Q", handled), 8, 0)), "create_ruleset"
    )
    try:
        _check(int(libc.syscall(_RESTRICT_SELF, ruleset, 0)), "restrict_self")
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FILE_RIGHTS
        rule = struct.pack("<Qi", rights, descriptor)
        _check(int(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)), f"add_rule {path}")
    finally:
        os.close(descriptor)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock {what}: {os.strerror(number)}")
    return result
