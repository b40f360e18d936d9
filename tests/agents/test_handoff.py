"""This fails when a handoff names what is not there, omits what is open, or overwrites a file."""

import re
from pathlib import Path

import pytest

from arcfusion.agents.handoff import (
    MARK,
    ForeignHandoffError,
    Provenance,
    ReportLine,
    build_handoff,
    write_handoff,
)
from arcfusion.agents.repository_handoff import (
    NotTheProjectError,
    build_repository_handoff,
    read_reports,
)
from arcfusion.core import store
from arcfusion.core.home import Home
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import EdgeType

ROOT = Path(__file__).resolve().parents[2]
WHEN = Provenance("2026-11-26", "0.1.0", "c0ffee")


@pytest.fixture
def filled(home: Home) -> Home:
    with Queue(home, "person") as queue:
        first = queue.create(Draft(title="first", priority=0))
        queue.create(Draft(title="second", edges=(Edge(EdgeType.BLOCKS, first.id),)))
        queue.create(Draft(title="third", priority=1))
        queue.claim(first.id)
    return home


def test_an_empty_lab_says_so(home: Home) -> None:
    text = build_handoff(home, WHEN)
    assert "Date 2026-11-26, ArcFusion 0.1.0, commit c0ffee." in text
    assert "No comparison has been made" in text
    assert "Nothing is ready" in text


def test_running_blocked_and_next_are_there(filled: Home) -> None:
    text = build_handoff(filled, WHEN)
    running, blocked, next_steps = (
        text.split(f"## {title}")[1].split("##")[0]
        for title in ("Running", "Blocked", "Next three steps")
    )
    assert "(first), held by person" in running
    assert re.search(r"\(second\) waits for arcfusion-\w+", blocked)
    assert "third" in next_steps
    assert "second" not in next_steps


def test_a_question_is_there_with_who_asks_it(filled: Home) -> None:
    with Queue(filled, "worker-1") as queue:
        claim = queue.claim()
        handoff = Handoff(tried="t", result="r", next="n")
        queue.release(claim, handoff, question="Which width?")
    blocked = build_handoff(filled, WHEN).split("## Blocked")[1].split("##")[0]
    assert f"- {claim.issue_id} waits for a person: worker-1 asks: Which width?" in blocked
    assert blocked.count(claim.issue_id) == 1


def test_every_id_in_it_is_a_row(filled: Home) -> None:
    named = set(re.findall(r"arcfusion-[0-9a-z]+", build_handoff(filled, WHEN)))
    connection = store.connect(filled)
    existing = {row["id"] for row in connection.execute("SELECT id FROM issue")}
    connection.close()
    assert named
    assert named <= existing


def test_a_title_can_not_break_the_tables(home: Home) -> None:
    line = ReportLine("loop", "a | b\nc", "1", "<= 2", holds=True)
    text = build_handoff(home, WHEN, [line])
    assert "| loop | a \\| b c | 1 | <= 2 | yes |" in text


def test_a_strangers_document_is_not_overwritten(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "HANDOFF.md"
    path.write_text("# mine\n")
    with pytest.raises(ForeignHandoffError):
        write_handoff(home, path, WHEN)
    assert path.read_text() == "# mine\n"


def test_our_own_document_is_written_anew(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "HANDOFF.md"
    first = write_handoff(home, path, WHEN)
    assert write_handoff(home, path, WHEN) == first
    assert MARK in path.read_text()


def test_the_repositorys_handoff_is_not_stale() -> None:
    def content(text: str) -> list[str]:
        # The date and commit are those of the last change to what the document is made from.
        return [line for line in text.splitlines() if not line.startswith("Date ")]

    written = (ROOT / "HANDOFF.md").read_text()
    assert content(written) == content(build_repository_handoff(ROOT)), "run `make handoff`"


def test_only_a_checkout_has_a_repository_handoff(tmp_path: Path) -> None:
    with pytest.raises(NotTheProjectError):
        build_repository_handoff(tmp_path)


def test_an_unmeasured_row_of_a_report_is_called_so(tmp_path: Path) -> None:
    folder = tmp_path / "experiments" / "reports"
    folder.mkdir(parents=True)
    (folder / "loop-x.json").write_text(
        '{"data": {"rows": [{"name": "n", "value": null, "unit": "s", "bar": "<= 1",'
        ' "holds": false}]}}'
    )
    (line,) = read_reports(tmp_path)
    assert (line.report, line.figure, line.holds) == ("loop-x", "unmeasured", False)
