"""Which tier holds on this machine, found by trying to break out, never by version numbers."""

import functools
import json
import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from arcfusion.core.errors import UnavailableError
from arcfusion.core.sandbox import landlock, privilege
from arcfusion.core.sandbox.launcher import (
    ConfinedPathError,
    package_paths,
    package_root,
    spawn_confined,
)
from arcfusion.core.sandbox.limits import MEBIBYTE, Limits
from arcfusion.core.sandbox.probe import Facts
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.sandbox.syscalls import ARCHITECTURES
from arcfusion.core.sandbox.watchdog import supervise

_BOOTSTRAP = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from arcfusion.core.sandbox.probe import main; main()"
)
_LIMITS = Limits(wall_s=60, cpu_s=10, memory_bytes=256 * MEBIBYTE, disk_bytes=8 * MEBIBYTE)


class SandboxTooWeakError(UnavailableError):
    """This machine can not confine generated code as the operator requires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One attempt to break out.

    Attributes:
        name: what was tried.
        denied: whether the system refused it.
        detail: what happened when it did not.
    """

    name: str
    denied: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReport:
    """The strongest tier that holds here, and how that is known."""

    tier: Tier
    probes: tuple[ProbeResult, ...]
    reason: str


@functools.cache
def detect_tier() -> TierReport:
    """Find the tier by a live self-test in a child process (about 0.1 s, once a process)."""
    missing = _find_missing()
    if missing is not None:
        return TierReport(tier=Tier.WEAK, probes=(), reason=missing)
    try:
        probes, broken = run_self_test(Tier.GOOD)
    except (ConfinedPathError, OSError) as error:
        return TierReport(tier=Tier.WEAK, probes=(), reason=str(error))
    passed = [probe for probe in probes if not probe.denied]
    if broken:
        return TierReport(tier=Tier.WEAK, probes=probes, reason=broken)
    if passed:
        names = ", ".join(f"{probe.name}: {probe.detail}" for probe in passed)
        return TierReport(tier=Tier.WEAK, probes=probes, reason=f"not denied: {names}")
    return TierReport(
        tier=Tier.GOOD, probes=probes, reason=f"{len(probes)} of {len(probes)} probes denied"
    )


def require_tier(required: Tier) -> TierReport:
    """Return what holds here when it is at least `required`.

    Raises:
        SandboxTooWeakError: it is less; the message says what is missing and what to do.
    """
    report = detect_tier()
    if report.tier < required:
        raise SandboxTooWeakError(
            f"sandbox: {required} required, {report.tier} available ({report.reason}). Run on "
            f"Linux 5.13 or newer with Landlock, or run with --sandbox={report.tier}; results "
            "will be marked."
        )
    return report


def run_self_test(tier: Tier) -> tuple[tuple[ProbeResult, ...], str]:
    """Run the escape probes in a child confined as `tier` says.

    Returns:
        The results, and what does not work inside although it must ("" when all does).

    Raises:
        OSError: the child did not start or did not answer.
        ConfinedPathError: the interpreter is closed to the unprivileged user.
    """
    with (
        tempfile.TemporaryDirectory(prefix="arcfusion-probe-") as name,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        facts = _prepare(Path(name), port=listener.getsockname()[1])
        output = Path(name) / "output.json"
        code = _BOOTSTRAP.format(root=str(package_root()))
        confined = spawn_confined(
            [sys.executable, "-I", "-S", "-c", code, facts.to_json()],
            workdir=Path(facts.workdir),
            readable=package_paths(),
            writable=[Path(facts.workdir)],
            limits=_LIMITS,
            tier=tier,
            output_path=output,
        )
        ending = supervise(confined, interval_s=0.02)
        text = output.read_text(errors="replace")
    if ending.reason != "exited" or ending.returncode != 0:
        last = text.strip().splitlines()[-1:] or [f"{ending.reason}, status {ending.returncode}"]
        raise OSError(f"the self-test did not run: {last[0]}")
    return _read_answer(text)


def _find_missing() -> str | None:
    """What this system lacks for the tier good, or None."""
    if not sys.platform.startswith("linux"):
        return f"Landlock: not on {sys.platform}"
    if os.uname().machine not in ARCHITECTURES or sys.maxsize < 2**32:
        return f"seccomp: no table for {os.uname().machine}"
    if landlock.read_abi(privilege.load_libc()) < 1:
        return "Landlock: not in this kernel"
    return None


def _prepare(root: Path, *, port: int) -> Facts:
    root.chmod(0o755)
    secret = root / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    for name, mode in (("open", 0o777), ("work", 0o755)):
        (root / name).mkdir()
        (root / name).chmod(mode)
    return Facts(
        secret=str(secret),
        open_directory=str(root / "open"),
        workdir=str(root / "work"),
        port=port,
        prefix=sys.prefix,
        parent=os.getpid(),
    )


def _read_answer(text: str) -> tuple[tuple[ProbeResult, ...], str]:
    try:
        answer = json.loads(text)
        probes = tuple(
            ProbeResult(name=str(name), denied=detail is None, detail=str(detail or "denied"))
            for name, detail in answer["probes"].items()
        )
        broken = {name: detail for name, detail in answer["controls"].items() if detail}
    except (ValueError, KeyError, AttributeError) as error:
        raise OSError(f"the self-test's answer is not readable: {error}") from error
    return probes, ", ".join(f"{name} does not work: {detail}" for name, detail in broken.items())
