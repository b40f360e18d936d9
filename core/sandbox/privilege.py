"""Who a confined process is: an unprivileged user, without capabilities, tied to its parent."""

import ctypes
import os
import resource
import signal
import struct
import sys

UNPRIVILEGED_ID = 65534
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP = 1, 8, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 36, 38, 47
_PR_CAP_AMBIENT_RAISE = 2
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522
DAC_READ_SEARCH = 2


def load_libc() -> ctypes.CDLL:
    """The C library, with errno kept for `ctypes.get_errno`."""
    return ctypes.CDLL(None, use_errno=True)


def has_capability(capability: int) -> bool:
    """Whether this process holds a capability now (False where the system has none)."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(read_capabilities(load_libc()) >> capability & 1)


def read_capabilities(libc: ctypes.CDLL) -> int:
    """The effective capabilities of this process as a bit set."""
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION, 0), 8)
    data = ctypes.create_string_buffer(24)
    _check(libc.capget(header, data), "capget")
    low, _, _, high, _, _ = struct.unpack("<6I", data.raw)
    return int(low | high << 32)


def drop_root(libc: ctypes.CDLL, *, keep_read_search: bool) -> None:
    """Stop being root: another user, no groups, no capabilities.

    Args:
        libc: the C library.
        keep_read_search: keep CAP_DAC_READ_SEARCH through exec, for an interpreter that lies where
            only root can look. It widens nothing: Landlock still decides what can be opened.

    Raises:
        OSError: a step was refused; the process must not go on.
    """
    kept = {DAC_READ_SEARCH} if keep_read_search else set()
    for capability in range(_LAST_CAPABILITY + 1):
        # EINVAL: this kernel has no capability of that number
        if capability not in kept:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if kept:
        _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "keepcaps")
    os.setgroups([])
    os.setresgid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    os.setresuid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    mask = sum(1 << capability for capability in kept)
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION, 0), 8)
    data = ctypes.create_string_buffer(struct.pack("<6I", mask, mask, mask, 0, 0, 0), 24)
    _check(libc.capset(header, data), "capset")
    for capability in kept:
        _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0), "ambient")


def forbid_new_privileges(libc: ctypes.CDLL) -> None:
    """Make set-user-id programs powerless for this process and all it starts."""
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def die_with_parent(libc: ctypes.CDLL, parent: int) -> None:
    """Have the kernel kill this process when its parent ends; call it after `drop_root`."""
    _check(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "pdeathsig")
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans(libc: ctypes.CDLL) -> None:
    """Make this process the parent of any descendant whose own parent ends."""
    _check(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "child_subreaper")


def limit_resources(bounds: dict[str, int]) -> None:
    """Lower the soft and the hard limit of each named resource (`RLIMIT_CPU`: seconds ...)."""
    for name, value in bounds.items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # at the soft limit of processor time comes SIGXCPU, by which the end can be told apart
        ceiling = bound + 1 if name == "RLIMIT_CPU" and bound == value else bound
        resource.setrlimit(kind, (bound, ceiling))


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
