"""Starts a program confined: the allow-lists of its interpreter, its environment, its limits."""

import contextlib
import os
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import arcfusion
import arcfusion.core
from arcfusion.core.errors import UnavailableError
from arcfusion.core.sandbox.confine import Plan
from arcfusion.core.sandbox.limits import Limits
from arcfusion.core.sandbox.privilege import DAC_READ_SEARCH, UNPRIVILEGED_ID, has_capability
from arcfusion.core.sandbox.process_tree import count_tasks, read_children
from arcfusion.core.sandbox.strength import Tier

_BOOTSTRAP = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from arcfusion.core.sandbox.confine import main; main()"
)
_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_SYSTEM_FILES = (
    "/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu",
)  # fmt: skip
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_OPEN_FILES = 256
# threads of numerical libraries, and what the user starts meanwhile; the watchdog is exact
_SPARE_TASKS = 512


class ConfinedPathError(UnavailableError):
    """A file that the confined process needs can not be reached by an unprivileged user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confined:
    """A running confined program.

    Attributes:
        process: the program (it was the launcher before); its own session and process group.
        limits: what the watchdog holds it to.
        writable: the directories whose size counts.
        output_path: the file that gets its standard output and error, or None.
        output_start_bytes: what was in the file before.
        may_fork: whether it can make processes at all.
        siblings: children that this process had before; they are never killed.
        started_s: monotonic clock.
    """

    process: subprocess.Popen[bytes]
    limits: Limits
    writable: tuple[Path, ...]
    output_path: Path | None
    output_start_bytes: int
    may_fork: bool
    siblings: frozenset[int]
    started_s: float

    @property
    def pid(self) -> int:
        """The process id, which is also its group and its session."""
        return self.process.pid


def spawn_confined(
    argv: Sequence[str],
    *,
    workdir: Path,
    readable: Sequence[Path],
    writable: Sequence[Path],
    limits: Limits,
    tier: Tier,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    output_path: Path | None = None,
) -> Confined:
    """Start `argv` confined as the tier says; the caller must `supervise` it.

    Args:
        argv: argv[0] is the absolute path of a Python interpreter (the only program allowed).
        workdir: where it runs; not writable by itself.
        readable: what it may read beside the interpreter's own files; nothing when empty.
        writable: directories it may change; they are given to the unprivileged user when root.
        limits: bounds of the tree.
        tier: "good" confines, "weak" only limits, "none" is a plain process.
        pass_fds: descriptors that stay open.
        env: variables beside the clean environment.
        output_path: file for standard output and error (appended); None drops them.

    Raises:
        ConfinedPathError: root can not be dropped, because a path is closed to other users.
        OSError: the launcher could not be started.
    """
    restricted = tier >= Tier.GOOD
    if restricted and os.getuid() == 0:
        for directory in writable:
            _give_away(directory)
    plan = _make_plan(argv, workdir, readable, writable, limits, env or {}, restricted=restricted)
    siblings = frozenset(read_children(os.getpid()))
    output_start_bytes = output_path.stat().st_size if output_path and output_path.exists() else 0
    process = _start(
        plan.argv if tier == Tier.NONE else _launcher_argv(plan), plan, pass_fds, output_path
    )
    return Confined(
        process=process,
        limits=limits,
        writable=tuple(writable),
        output_path=output_path,
        output_start_bytes=output_start_bytes,
        may_fork=plan.allow_fork or not restricted,
        siblings=siblings,
        started_s=time.monotonic(),
    )


def package_root() -> Path:
    """The directory or zip file that has to be on `sys.path` for `import arcfusion`."""
    return Path(str(arcfusion.__file__)).parents[1]


def package_paths() -> list[Path]:
    """What a confined process has to read to import this package's core."""
    return [package_root(), Path(str(arcfusion.core.__file__)).resolve().parent]


def _make_plan(
    argv: Sequence[str],
    workdir: Path,
    readable: Sequence[Path],
    writable: Sequence[Path],
    limits: Limits,
    env: Mapping[str, str],
    *,
    restricted: bool,
) -> Plan:
    drop = restricted and os.getuid() == 0
    libraries, programs = _interpreter_paths(Path(argv[0]))
    read_paths = [*libraries, *map(Path, _SYSTEM_FILES), *readable]
    return Plan(
        argv=list(argv),
        env=_clean_environment(workdir) | dict(env),
        workdir=str(workdir),
        parent=os.getpid(),
        restricted=restricted,
        readable=[str(path) for path in read_paths],
        writable=[*map(str, writable), "/dev/null"],
        executable=[str(path) for path in programs],
        resources=_resources(limits, uid=UNPRIVILEGED_ID if drop else os.getuid()),
        drop_root=drop,
        keep_read_search=drop and _needs_read_search([Path(argv[0]), *readable, workdir]),
        allow_fork=limits.processes > 1,
    )


def _start(
    argv: Sequence[str], plan: Plan, pass_fds: Sequence[int], output_path: Path | None
) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as stack:
        log: IO[bytes] | int = subprocess.DEVNULL
        if output_path is not None:
            log = stack.enter_context(output_path.open("ab"))
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=plan.workdir,
            env=plan.env,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )


def _launcher_argv(plan: Plan) -> list[str]:
    code = _BOOTSTRAP.format(root=str(package_root()))
    return [sys.executable, "-I", "-S", "-c", code, plan.to_json()]


def _interpreter_paths(program: Path) -> tuple[list[Path], list[Path]]:
    """What an interpreter reads, and what the kernel executes to start it."""
    roots = {Path(sys.prefix), Path(sys.base_prefix)}
    libraries = [root / name for root in sorted(roots) for name in ("lib", "lib64", "bin")]
    libraries += [root / "pyvenv.cfg" for root in sorted(roots)]
    libraries += map(Path, _SYSTEM_LIBRARIES)
    loaders = [*map(Path, _LOADERS), *Path("/lib").glob("ld-musl-*.so.1")]
    return libraries, [program, *loaders]


def _clean_environment(workdir: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(workdir),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _resources(limits: Limits, *, uid: int) -> dict[str, int]:
    return {
        "RLIMIT_CPU": limits.cpu_s,
        "RLIMIT_FSIZE": limits.disk_bytes,
        "RLIMIT_NOFILE": _OPEN_FILES,
        "RLIMIT_NPROC": count_tasks(uid) + limits.processes + _SPARE_TASKS,
        "RLIMIT_CORE": 0,
    }


def _needs_read_search(paths: Sequence[Path]) -> bool:
    closed = [path for path in paths if path.exists() and not _is_open_to_others(path)]
    if closed and not has_capability(DAC_READ_SEARCH):
        raise ConfinedPathError(
            f"sandbox: user {UNPRIVILEGED_ID} can not reach {str(closed[0])!r}: run as an "
            "ordinary user, or move it to where others may read"
        )
    return bool(closed)


def _is_open_to_others(path: Path) -> bool:
    real = path.resolve()
    if not real.stat().st_mode & stat.S_IROTH:
        return False
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in real.parents)


def _give_away(directory: Path) -> None:
    """Make the unprivileged user the owner of a directory and all that lies in it."""
    os.chown(directory, UNPRIVILEGED_ID, UNPRIVILEGED_ID, follow_symlinks=False)
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            os.chown(Path(parent) / name, UNPRIVILEGED_ID, UNPRIVILEGED_ID, follow_symlinks=False)
