"""The confined process that imports torch once and forks the processes that run the model's code.

It never loads the model file itself, so each process that it forks is new: one trains, and each
scoring gets its own, which has seen no validation window before and can tell nobody about those it
sees. The supervisor asks over a control socket and hands over the descriptor of the new process's
channel.
"""

import contextlib
import json
import os
import select
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from arcfusion.core.sandbox import privilege, seccomp
from arcfusion.core.sandbox.syscalls import ARCHITECTURES
from arcfusion.experiments.runner.channel import Channel, ChannelClosedError

Role = Callable[[Path, Channel, bool], None]
_MAX_REQUEST_BYTES = 4096
_POLL_S = 0.1


def serve_forks(
    run_dir: Path, control: socket.socket, roles: Mapping[str, Role], *, restricted: bool
) -> None:
    """Fork a process for each request until the supervisor closes the control socket.

    A request is `{"role": name}` with one descriptor; the answer is `{"pid": n}`. When a process
    ends, `{"pid": n, "status": wait status}` follows.

    Args:
        run_dir: the run's directory.
        control: to the supervisor.
        roles: what a process may be.
        restricted: whether Landlock and seccomp hold here, so that more of them is taken away.
    """
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _serve(run_dir, control, roles, restricted=restricted)


def _serve(
    run_dir: Path, control: socket.socket, roles: Mapping[str, Role], *, restricted: bool
) -> None:
    while True:
        ready, _, _ = select.select([control], [], [], _POLL_S)
        _report_ended(control)
        if not ready:
            continue
        request, descriptors, _, _ = socket.recv_fds(control, _MAX_REQUEST_BYTES, 1)
        if not request:
            return
        role = roles[json.loads(request)["role"]]
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            control.close()
            _live(role, run_dir, descriptors[0], parent=parent, restricted=restricted)
        os.close(descriptors[0])
        _answer(control, {"pid": pid})


def _live(role: Role, run_dir: Path, descriptor: int, *, parent: int, restricted: bool) -> NoReturn:
    """Be the new process: lose what only the nursery needed, do the work, and end."""
    status = 1
    try:
        _take_away(parent=parent, restricted=restricted)
        role(run_dir, Channel(socket.socket(fileno=descriptor)), restricted)
        status = 0
    except ChannelClosedError:
        # the supervisor has heard enough
        status = 0
    except BaseException:  # noqa: BLE001  # the process ends here, whatever the model's code raised
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _take_away(*, parent: int, restricted: bool) -> None:
    if not sys.platform.startswith("linux"):
        return
    libc = privilege.load_libc()
    privilege.die_with_parent(libc, parent)
    if restricted:
        program = seccomp.build_program(
            ARCHITECTURES[os.uname().machine], pid=os.getpid(), allow_fork=False
        )
        seccomp.install(program, libc)


def _report_ended(control: socket.socket) -> None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return
    if pid:
        _answer(control, {"pid": pid, "status": status})


def _answer(control: socket.socket, values: dict[str, int]) -> None:
    control.sendall(json.dumps(values).encode() + b"\n")
