"""HANDOFF.md: what the next worker must know, written from the database and nothing else.

Every id in it is a row, every commit exists, every figure names its runs. It holds no history.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from arcfusion import __version__
from arcfusion.core import store
from arcfusion.core.database import Connection
from arcfusion.core.errors import BadInputError
from arcfusion.core.home import Home
from arcfusion.issues import questions

MARK = "<!-- Written by `arcfusion handoff` from the database; do not edit. -->"
_SHOWN = 12  # rows a section: the document is read in one sitting


class ForeignHandoffError(BadInputError):
    """HANDOFF.md was written by somebody else: move it away first."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """When and from what the document was written."""

    date: str
    version: str
    commit: str | None


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One row of a committed bench report."""

    report: str
    name: str
    figure: str
    bar: str
    holds: bool


def write_handoff(home: Home, path: Path, provenance: Provenance) -> str:
    """Write the lab's handoff to the path and return it.

    Raises:
        ForeignHandoffError: a file is there that ArcFusion did not write.
    """
    check_ours(path)
    text = build_handoff(home, provenance)
    path.write_text(text)
    return text


def write_lab_handoff(home: Home, commit: str | None) -> Path:
    """Write HANDOFF.md beside the lab, or inside it where a stranger's lies; return the path."""
    provenance = Provenance(today(), __version__, commit)
    path = home.workspace_path / "HANDOFF.md"
    try:
        write_handoff(home, path, provenance)
    except ForeignHandoffError:
        path = home.path / "HANDOFF.md"
        write_handoff(home, path, provenance)
    return path


def check_ours(path: Path) -> None:
    """Refuse a path at which somebody else's document lies.

    Raises:
        ForeignHandoffError: there is one.
    """
    if path.exists() and MARK not in path.read_text(errors="replace"):
        raise ForeignHandoffError(
            f"{str(path)!r} was not written by ArcFusion: move it away, or name another file"
        )


def today() -> str:
    """Return the date (UTC)."""
    return datetime.now(UTC).date().isoformat()


def build_handoff(home: Home, provenance: Provenance, reports: Sequence[ReportLine] = ()) -> str:
    """Return the document."""
    connection = store.connect(home)
    try:
        sections = [
            _header(provenance),
            _state(connection),
            _running(connection),
            _blocked(connection),
            _evidence(connection),
            *([_reports(reports)] if reports else []),
            _caveats(connection),
            _next_steps(connection),
        ]
    finally:
        connection.close()
    return "\n\n".join(sections) + "\n"


def _header(provenance: Provenance) -> str:
    commit = provenance.commit or "none: the lab is not in a git repository"
    return (
        f"# Handoff\n\n{MARK}\n\n"
        f"Date {provenance.date}, ArcFusion {provenance.version}, commit {commit}."
    )


def _table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _count(connection: Connection, table: str, column: str) -> str:
    # Table and column are this module's own words, never input.
    rows = connection.execute(
        f"SELECT {column} AS word, count(*) AS n FROM {table} GROUP BY 1 ORDER BY 1"  # noqa: S608
    ).fetchall()
    return ", ".join(f"{row['n']} {row['word'] or 'without'}" for row in rows) or "none"


def _state(connection: Connection) -> str:
    rows = [
        ("issues", _count(connection, "issue", "status")),
        ("closed issues by outcome", _closed(connection)),
        ("runs", _count(connection, "run", "coalesce(outcome, state)")),
        ("insights", _count(connection, "insight", "status")),
        ("hypotheses", _count(connection, "hypothesis", "status")),
        ("branches to review", _count(connection, "pull_request", "state")),
    ]
    return "## State\n\n" + _table(("what", "count"), rows)


def _closed(connection: Connection) -> str:
    rows = connection.execute(
        "SELECT outcome, count(*) AS n FROM issue WHERE status = 'closed' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return ", ".join(f"{row['n']} {row['outcome']}" for row in rows) or "none"


def _running(connection: Connection) -> str:
    claims = connection.execute(
        "SELECT id, title, assignee FROM issue WHERE status = 'in_progress' ORDER BY id"
    ).fetchall()
    runs = connection.execute(
        "SELECT id, name, seed, issue_id FROM run WHERE state = 'running' ORDER BY id"
    ).fetchall()
    lines = [f"- issue {r['id']} ({r['title']}), held by {r['assignee']}" for r in claims]
    lines += [f"- run {r['id']}: {r['name']}, seed {r['seed']}, for {r['issue_id']}" for r in runs]
    return "## Running\n\n" + ("\n".join(lines) or "Nothing.")


def _blocked(connection: Connection) -> str:
    waiting = connection.execute(
        "SELECT id, title, blocked_by FROM issue"
        " WHERE status NOT IN ('closed', 'in_progress') AND blocked_by > 0"
        " ORDER BY priority, created_at, id"
    ).fetchall()
    parked = connection.execute(
        "SELECT id, title, status FROM issue WHERE status IN ('blocked', 'quarantined')"
        " AND question IS NULL ORDER BY priority, created_at, id"
    ).fetchall()
    lines = [
        f"- {r['id']} ({r['title']}) waits for {_blockers(connection, r['id'])}" for r in waiting
    ]
    lines += [f"- {_cell(question)}" for question in questions.find(connection)]
    lines += [f"- {r['id']} ({r['title']}) is {r['status']}" for r in parked]
    return "## Blocked\n\n" + (_shorten(lines) or "Nothing.")


def _blockers(connection: Connection, issue_id: str) -> str:
    rows = connection.execute(
        "SELECT d.depends_on_id AS id FROM dependency d JOIN issue i ON i.id = d.depends_on_id"
        " WHERE d.issue_id = ? AND i.status != 'closed' ORDER BY 1",
        (issue_id,),
    ).fetchall()
    return ", ".join(row["id"] for row in rows) or "an open dependency"


def _shorten(lines: Sequence[str]) -> str:
    if len(lines) <= _SHOWN:
        return "\n".join(lines)
    return "\n".join([*lines[:_SHOWN], f"- and {len(lines) - _SHOWN} more: `arcfusion issue list`"])


def _evidence(connection: Connection) -> str:
    rows = connection.execute(
        "SELECT claim, effect, low, high, confidence, n_seeds, run_ids, status FROM insight"
        " ORDER BY created_at DESC, id LIMIT ?",
        (_SHOWN,),
    ).fetchall()
    if not rows:
        return "## Evidence\n\nNo comparison has been made in this lab yet."
    cells = [
        (
            r["claim"],
            f"{r['effect']:+.4f} [{r['low']:+.4f}, {r['high']:+.4f}] at {r['confidence']:.0%}",
            r["n_seeds"],
            ", ".join(json.loads(r["run_ids"])),
            r["status"],
        )
        for r in rows
    ]
    headers = ("claim", "difference in bits per byte", "seeds", "runs", "status")
    return "## Evidence\n\n" + _table(headers, cells)


def _reports(reports: Sequence[ReportLine]) -> str:
    rows = [(r.report, r.name, r.figure, r.bar, "yes" if r.holds else "no") for r in reports]
    return "## Measured by the benches\n\n" + _table(
        ("report", "row", "figure", "bar", "holds"), rows
    )


def _caveats(connection: Connection) -> str:
    weak = connection.execute(
        "SELECT coalesce(sandbox_tier, 'unknown') AS tier, count(*) AS n FROM run"
        " WHERE state = 'done' AND coalesce(sandbox_tier, '') NOT IN ('good', 'strict') GROUP BY 1"
    ).fetchall()
    unranked = connection.execute(
        "SELECT outcome, count(*) AS n FROM run"
        " WHERE state = 'done' AND outcome != 'completed' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    disputed = connection.execute(
        "SELECT id, claim FROM insight WHERE status = 'contradicted' ORDER BY id LIMIT ?", (_SHOWN,)
    ).fetchall()
    lines = [f"- {r['n']} runs in the sandbox tier {r['tier']}: below `good`." for r in weak]
    lines += [f"- {r['n']} runs ended {r['outcome']} and are not ranked." for r in unranked]
    keys = connection.execute("SELECT count(DISTINCT protocol_key) AS n FROM run").fetchone()["n"]
    if keys > 1:
        lines.append(f"- {keys} comparability keys: figures of different keys are never compared.")
    lines += [f"- {r['id']} is contradicted: {r['claim']}" for r in disputed]
    if keys:
        lines.append("- Claims hold for the sizes, data and budget of their key, not beyond.")
    return "## Caveats\n\n" + ("\n".join(lines) or "None recorded.")


def _next_steps(connection: Connection) -> str:
    reviews = connection.execute(
        "SELECT issue_id, branch FROM pull_request WHERE state = 'open' ORDER BY created_at LIMIT 1"
    ).fetchall()
    ready = connection.execute(
        "SELECT id, title, priority FROM issue WHERE status = 'open' AND blocked_by = 0"
        " ORDER BY priority, created_at, id LIMIT 3"
    ).fetchall()
    steps = [f"Review the branch `{r['branch']}` (issue {r['issue_id']})." for r in reviews]
    steps += [f"`arcfusion issue claim {r['id']}`: P{r['priority']} {r['title']}" for r in ready]
    numbered = [f"{number}. {step}" for number, step in enumerate(steps[:3], start=1)]
    return "## Next three steps\n\n" + (
        "\n".join(numbered) or "Nothing is ready: `arcfusion issue create TITLE`."
    )
