"""The self-test that runs inside a confinement: tries to get out, and says what was refused.

It runs as `python -I -S -c BOOTSTRAP FACTS`, FACTS being the JSON of `Facts`, and prints one JSON
object: probe name -> null when it was denied, else what it could do; controls (things that must
work) likewise. An attempt counts as denied only when the system refused it: a probe that fails for
another reason (ENOENT ...) has shown nothing and counts as not denied.
"""

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

_REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EXDEV})
_SYSCALLS = {
    "x86_64": {"io_uring": 425, "keyctl": 250, "bpf": 321, "perf": 298, "ptrace": 101,
               "read_memory": 310, "unshare": 272, "mount": 165, "memfd": 319, "clone3": 435},
    "aarch64": {"io_uring": 425, "keyctl": 219, "bpf": 280, "perf": 241, "ptrace": 117,
                "read_memory": 270, "unshare": 97, "mount": 40, "memfd": 279, "clone3": 435},
}  # fmt: skip
_CLONE_NEWUSER = 0x10000000
_PTRACE_SEIZE = 0x4206


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the probes aim at; all of it lies outside the confinement but `workdir`.

    Attributes:
        secret: a file that everybody may read.
        open_directory: a directory that everybody may write.
        workdir: the writable directory of the confined process.
        port: where the parent listens on 127.0.0.1.
        prefix: the interpreter's directory.
        parent: the parent's process id.
    """

    secret: str
    open_directory: str
    workdir: str
    port: int
    prefix: str
    parent: int

    def to_json(self) -> str:
        """The facts as the probe's argument."""
        return json.dumps(asdict(self))


def run_probes(facts: Facts) -> dict[str, dict[str, str | None]]:
    """Try everything; see the module docstring for the result."""
    attempts: dict[str, Callable[[], object]] = {
        "read_outside": lambda: Path(facts.secret).read_bytes(),
        "list_outside": lambda: list(Path(facts.open_directory).iterdir()),
        "read_through_link": lambda: _read_through_link(facts),
        "write_outside": lambda: _create(Path(facts.open_directory) / "escaped"),
        "write_interpreter": lambda: _create(Path(facts.prefix) / "lib" / "escaped.pth"),
        "chmod_outside": lambda: Path(facts.secret).chmod(0o600),
        "tcp_loopback": lambda: _connect(facts.port),
        "udp_socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "unix_socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        "signal_parent": lambda: os.kill(facts.parent, 0),
        "parent_environment": lambda: Path(f"/proc/{facts.parent}/environ").read_bytes(),
        "list_processes": lambda: list(Path("/proc").iterdir()),
        "become_root": _become_root,
        "fork": _fork,
        "ptrace": lambda: _call("ptrace", _PTRACE_SEIZE, facts.parent, 0, 0),
        "read_memory": lambda: _call("read_memory", facts.parent, 0, 0, 0, 0, 0),
        "user_namespace": lambda: _call("unshare", _CLONE_NEWUSER),
        "mount": lambda: _call("mount", b"none", facts.workdir.encode(), b"tmpfs", 0, 0),
        "io_uring": lambda: _call("io_uring", 1, ctypes.create_string_buffer(120)),
        "keyctl": lambda: _call("keyctl", 0, -3, 0),
        "bpf": lambda: _call("bpf", 0, ctypes.create_string_buffer(128), 128),
        "perf": lambda: _call("perf", ctypes.create_string_buffer(128), 0, -1, -1, 0),
        "memfd": lambda: _call("memfd", b"escaped", 0),
        "outlive_parent": _outlive_parent,
    }
    controls: dict[str, Callable[[], object]] = {
        "write_workdir": lambda: _create(Path(facts.workdir) / "allowed"),
        "start_thread": _start_thread,
        "read_interpreter": lambda: Path(os.__file__).read_bytes(),
        "random": lambda: os.close(os.open("/dev/urandom", os.O_RDONLY)),
    }
    return {
        "probes": {name: _attempt(attempt) for name, attempt in attempts.items()},
        "controls": {name: _control(control) for name, control in controls.items()},
    }


def main() -> None:
    """Run the probes and print what they found."""
    facts = Facts(**json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(run_probes(facts)))


def _attempt(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except OSError as error:
        if error.errno in _REFUSALS:
            return None
        return f"failed for another reason: {error}"
    return "it worked"


def _control(control: Callable[[], object]) -> str | None:
    try:
        control()
    except (OSError, RuntimeError) as error:
        return str(error)
    return None


def _create(path: Path) -> None:
    path.write_bytes(b"x")
    path.unlink()


def _read_through_link(facts: Facts) -> bytes:
    """Read the secret by a link in the work directory, or through /proc."""
    link = Path(facts.workdir) / "link"
    try:
        os.link(facts.secret, link)
    except OSError:
        with contextlib.suppress(OSError):
            link.symlink_to(facts.secret)
    if link.is_symlink() or link.exists():
        return link.read_bytes()
    return Path(f"/proc/self/root{facts.secret}").read_bytes()


def _connect(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        pass


def _become_root() -> None:
    if os.getuid() != 0:
        os.setuid(0)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _outlive_parent() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(1, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)


def _start_thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SYSCALLS[os.uname().machine][name]
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
