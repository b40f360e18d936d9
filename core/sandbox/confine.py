"""The launcher: a process that confines itself and then becomes the target program.

It runs as `python -I -S -c BOOTSTRAP PLAN`, where PLAN is a JSON object with the fields of `Plan`.
Whatever step fails, the target is not started: one line on standard error and exit status 126.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from arcfusion.core.sandbox import landlock, privilege, seccomp
from arcfusion.core.sandbox.syscalls import ARCHITECTURES

FAILED_STATUS = 126


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the launcher does to itself, and what it becomes.

    Attributes:
        argv: the target; argv[0] is an absolute path.
        env: its whole environment.
        workdir: its working directory.
        parent: the process whose death must be the target's death.
        restricted: Landlock and seccomp are applied (tier good); else resource limits only.
        readable, writable, executable: the allow-lists of Landlock.
        resources: RLIMIT_* name -> value.
        drop_root: become an unprivileged user first.
        keep_read_search: see `privilege.drop_root`.
        allow_fork: see `seccomp.build_program`.
    """

    argv: list[str]
    env: dict[str, str]
    workdir: str
    parent: int
    restricted: bool
    readable: list[str]
    writable: list[str]
    executable: list[str]
    resources: dict[str, int]
    drop_root: bool
    keep_read_search: bool
    allow_fork: bool

    def to_json(self) -> str:
        """The plan as the launcher's argument."""
        return json.dumps(asdict(self))


def confine(plan: Plan) -> None:
    """Apply the plan to this process, for ever.

    Raises:
        OSError: a step was refused by the system.
    """
    os.chdir(plan.workdir)
    os.umask(0o077)
    linux = sys.platform.startswith("linux")
    libc = privilege.load_libc() if linux else None
    if libc is not None and plan.drop_root:
        privilege.drop_root(libc, keep_read_search=plan.keep_read_search)
    privilege.limit_resources(plan.resources)
    if libc is None:
        return
    privilege.forbid_new_privileges(libc)
    privilege.die_with_parent(libc, plan.parent)
    if not plan.restricted:
        return
    landlock.restrict(
        libc,
        readable=[Path(path) for path in plan.readable],
        writable=[Path(path) for path in plan.writable],
        executable=[Path(path) for path in plan.executable],
    )
    program = seccomp.build_program(
        ARCHITECTURES[os.uname().machine], pid=os.getpid(), allow_fork=plan.allow_fork
    )
    seccomp.install(program, libc)


def main() -> None:
    """Confine this process and become the target."""
    plan = Plan(**json.loads(sys.argv[1]))
    try:
        confine(plan)
        os.execve(plan.argv[0], plan.argv, plan.env)  # noqa: S606  # no shell: argv is a list
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"sandbox: the program was not started: {error}\n")
        sys.stderr.flush()
        os._exit(FAILED_STATUS)
