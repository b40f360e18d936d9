"""The repository's own HANDOFF.md: the project's backlog and its committed bench reports.

The backlog is imported into a lab that lives only while the document is written. The commit that it
names is the last one that changed what it is made from, since no file can name its own commit.
"""

import json
import tempfile
from pathlib import Path

from arcfusion import __version__
from arcfusion.agents.handoff import Provenance, ReportLine, build_handoff, check_ours, today
from arcfusion.agents.workspace import Workspace
from arcfusion.core import store
from arcfusion.core.errors import BadInputError
from arcfusion.core.home import Home

BACKLOG = "experiments/plans/backlog.yaml"
REPORTS = "experiments/reports"


class NotTheProjectError(BadInputError):
    """The directory is not a checkout of ArcFusion: there is no backlog in it."""


def write_repository_handoff(root: Path) -> str:
    """Write HANDOFF.md of the checkout at `root` and return it.

    Raises:
        NotTheProjectError: there is no backlog there.
        ForeignHandoffError: HANDOFF.md was written by somebody else.
    """
    path = root / "HANDOFF.md"
    check_ours(path)
    text = build_repository_handoff(root)
    path.write_text(text)
    return text


def build_repository_handoff(root: Path) -> str:
    """Return the document.

    Raises:
        NotTheProjectError: there is no backlog at `root`.
    """
    from arcfusion.issues.plan import file_plan, load_plan
    from arcfusion.issues.queue import Queue

    backlog = root / BACKLOG
    if not backlog.is_file():
        raise NotTheProjectError(f"there is no {BACKLOG} in {str(root)!r}")
    changed = Workspace(root).last_change([BACKLOG, REPORTS])
    commit, date = changed or (None, today())
    with tempfile.TemporaryDirectory() as directory:
        home = Home(Path(directory))
        store.create(home)
        with Queue(home, "backlog") as queue:
            file_plan(queue, load_plan(backlog))
        return build_handoff(home, Provenance(date, __version__, commit), read_reports(root))


def read_reports(root: Path) -> list[ReportLine]:
    """Return every row of every committed bench report (as `arcfusion bench --json` prints it)."""
    lines = []
    for path in sorted((root / REPORTS).glob("*.json")):
        document = json.loads(path.read_text())["data"]
        for row in document["rows"]:
            value = row["value"]
            figure = "unmeasured" if value is None else f"{value:.4g} {row['unit']}".strip()
            lines.append(ReportLine(path.stem, row["name"], figure, row["bar"], row["holds"]))
    return lines
