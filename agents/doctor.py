"""What this machine can do, looked at rather than assumed. Reads only."""

import shutil
import sqlite3
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from arcfusion.core.errors import ArcFusionError
from arcfusion.core.home import find_home

if TYPE_CHECKING:
    from arcfusion.core.database import Connection

# 3.7.0 to 3.51.2 can corrupt a WAL database when two connections write and checkpoint at the same
# instant; source: SQLite's own release notes for 3.51.3.
FIXED_SQLITE = (3, 51, 3)

State = Literal["ok", "warning", "unavailable"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    detail: str

    def as_dict(self) -> dict[str, str]:
        """Return the check as JSON fields."""
        return asdict(self)


def examine() -> list[Check]:
    """Look at everything; nothing is written and no model code is run."""
    return [
        Check("python", "ok", sys.version.split()[0]),
        check_sqlite(),
        _lab(),
        _sandbox(),
        _git(),
        _torch(),
        _extra("datasets", "wikitext2: pip install 'arcfusion[data]'"),
    ]


def check_sqlite() -> Check:
    """Look at the version of SQLite that this Python has."""
    if sqlite3.sqlite_version_info >= FIXED_SQLITE:
        return Check("sqlite", "ok", sqlite3.sqlite_version)
    return Check(
        "sqlite",
        "warning",
        f"{sqlite3.sqlite_version} has the rare WAL-reset corruption bug, fixed in 3.51.3:"
        " keep a copy of lab.db, or use a Python with a newer SQLite",
    )


def _lab() -> Check:
    try:
        home = find_home()
    except ArcFusionError as error:
        return Check("lab", "unavailable", str(error))
    from arcfusion.core import store

    try:
        connection = store.connect(home)
    except ArcFusionError as error:
        return Check("lab", "unavailable", str(error))
    try:
        verdict = _examine_database(connection)
    finally:
        connection.close()
    free_gib = shutil.disk_usage(home.path).free / 2**30
    state: State = "ok" if verdict == "ok" and free_gib >= 1 else "warning"
    database = f"{connection.dialect.name} database {home.database_name} {verdict}"
    return Check("lab", state, f"{home.path}: {database}, {free_gib:.1f} GiB free")


def _examine_database(connection: "Connection") -> str:
    if connection.dialect.lock_all is None:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        return str(verdict)
    (fsync,) = connection.execute("SELECT current_setting('fsync')").fetchone()
    return "ok" if fsync == "on" else "has fsync off: a power cut can destroy it"


def _sandbox() -> Check:
    from arcfusion.core.sandbox.strength import Tier
    from arcfusion.core.sandbox.tier import detect_tier

    report = detect_tier()
    state: State = "ok" if report.tier >= Tier.GOOD else "warning"
    return Check("sandbox", state, f"tier {report.tier}: {report.reason}")


def _git() -> Check:
    path = shutil.which("git")
    if path is None:
        return Check("git", "warning", "not installed: no branches for review")
    return Check("git", "ok", path)


def _torch() -> Check:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return Check("torch", "ok", f"{torch.__version__}, {device}, {torch.get_num_threads()} threads")


def _extra(module: str, what: str) -> Check:
    from importlib.util import find_spec

    if find_spec(module) is None:
        return Check(module, "unavailable", f"not installed; needed for {what}")
    return Check(module, "ok", "installed")
