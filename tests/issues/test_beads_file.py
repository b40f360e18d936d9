import json

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import issue as issue_cli
from arcfusion.agents.cli.typed import build_app
from arcfusion.issues.beads import is_from_beads, read_beads
from arcfusion.issues.beads_export import to_beads_line
from arcfusion.issues.draft import Draft
from arcfusion.issues.errors import DependencyUnknownError, ImportFileError
from arcfusion.issues.evidence import Evidence, EvidenceKind
from arcfusion.issues.export import export_lines
from arcfusion.issues.replay import verify
from arcfusion.issues.states import EdgeType, Gate, Outcome, Size, Status

AT = "2026-01-02T03:04:05.123456Z"
RAN = Evidence(kind=EvidenceKind.COMMAND, value="make test", exit_status=0)


def bead(issue_id: str, **fields) -> dict:
    made = {"id": issue_id, "title": f"Bead {issue_id}", "description": "", "status": "open"}
    return made | {
        "priority": 1,
        "issue_type": "task",
        "created_at": AT,
        "updated_at": AT,
        **fields,
    }


def edge(issue_id: str, target: str, kind: str, **fields) -> dict:
    made = {"issue_id": issue_id, "depends_on_id": target, "type": kind}
    return made | {"created_at": AT, "created_by": "ann", **fields}


BEADS = [
    bead("bd-a1", status="closed", closed_at=AT, close_reason="it failed", labels=["x", "y"]),
    bead("bd-a1.1", issue_type="epic", dependencies=[edge("bd-a1.1", "bd-a1", "blocks")]),
    bead(
        "bd-b2",
        status="in_progress",
        assignee="ann",
        issue_type="bug",
        estimated_minutes=90,
        design="d",
        acceptance_criteria="ac",
        notes="n",
        owner="o@x",
        external_ref="gh-9",
        metadata={"k": [1, 2.5]},
        started_at="2026-01-02T04:04:05+01:00",
        comments=[
            {"id": 7, "issue_id": "bd-b2", "author": "bob", "text": "caf\u00e9", "created_at": AT}
        ],
        dependencies=[
            edge("bd-b2", "bd-a1.1", "parent-child"),
            edge("bd-b2", "bd-a1", "caused-by"),
            edge("bd-b2", "ann@example.org", "authored-by"),
        ],
        mol_type="swarm",
    ),
    bead("bd-c3", status="pinned", issue_type="message", defer_until=AT),
    bead(
        "bd-d4",
        status="blocked",
        dependencies=[
            edge("bd-d4", "bd-a1.1", "waits-for", metadata='{"gate":"any-children"}'),
            edge("bd-d4", "bd-gone", "blocks"),
        ],
    ),
    bead("bd-gone", status="tombstone", deleted_at=AT),
    {"_type": "memory", "key": "m", "value": "remember me"},
    {"_type": "header", "version": 1},
]


def load(queue, records: list[dict]):
    return read_beads(
        [json.dumps(record) for record in records],
        name="issues.jsonl",
        now=queue.now(),
        actor="carol",
        lease_s=60.0,
        max_attempts=3,
    )


def take(queue, records: list[dict]):
    found = load(queue, records)
    return queue.import_all(found.issues, found.memories, is_same=is_from_beads)


def test_a_beads_file_keeps_what_it_says(queue):
    done = take(queue, BEADS)
    assert done.new_ids == ("bd-a1", "bd-a1.1", "bd-b2", "bd-c3", "bd-d4")
    first = queue.fetch("bd-a1")
    assert (first.status, first.outcome, first.close_reason) == ("closed", "done", "it failed")
    assert (first.labels, first.priority) == (("x", "y"), 1)
    shown = queue.show("bd-b2")
    assert (shown.issue.status, shown.lease.holder) == (Status.IN_PROGRESS, "ann")
    assert (shown.issue.estimated_minutes, shown.issue.acceptance) == (90, "ac")
    assert shown.issue.started_at == shown.issue.created_at.replace(microsecond=0)
    assert [(c.author, c.text) for c in shown.comments] == [("bob", "caf\u00e9")]
    assert [(e.type, e.depends_on_id) for e in shown.dependencies] == [
        (EdgeType.PARENT_CHILD, "bd-a1.1"),
        (EdgeType.RELATED, "bd-a1"),
    ]
    assert (queue.fetch("bd-c3").status, queue.fetch("bd-c3").type) == ("deferred", "chore")
    waits = queue.show("bd-d4").dependencies
    assert [(e.type, e.gate) for e in waits] == [(EdgeType.WAITS_FOR, Gate.ANY_CHILDREN)]
    assert queue.recall("remember")[0].text == "remember me"
    assert verify(queue).differences == ()


def test_what_was_left_out_is_said(queue):
    assert load(queue, BEADS).left_out == (
        "issues.jsonl, line 8: a record of type 'header'",
        "issues.jsonl, line 6: bd-gone was deleted",
    )


def test_a_claim_from_beads_is_given_back_when_nobody_renews_it(queue, fake_clock):
    take(queue, [bead("bd-1", status="in_progress", assignee="ann")])
    fake_clock.pass_s(61)
    claim = queue.claim()
    assert (claim.issue_id, claim.fence) == ("bd-1", 2)


def test_a_second_import_adds_what_is_new_and_leaves_the_rest(queue):
    take(queue, BEADS[:2])
    queue.update("bd-a1.1", {"title": "changed here"})
    done = take(queue, BEADS[:3])
    assert (done.new_ids, done.known_ids) == (("bd-b2",), ("bd-a1", "bd-a1.1"))
    assert queue.fetch("bd-a1.1").title == "changed here"


def test_beads_reads_back_what_it_wrote(queue):
    take(queue, BEADS)
    lines = [json.loads(line) for line in export_lines(queue, to_beads_line)]
    by_id = {line.get("id", "memory"): line for line in lines}
    assert list(by_id) == ["bd-a1", "bd-a1.1", "bd-b2", "bd-c3", "bd-d4", "memory"]
    for record in BEADS[:4]:
        again = by_id[record["id"]]
        for name, value in record.items():
            if name not in {"comments", "started_at", "dependencies", "metadata"}:
                assert again[name] == value, name
        kept = {(e["depends_on_id"], e["type"]) for e in again.get("dependencies", [])}
        assert kept == {(e["depends_on_id"], e["type"]) for e in record.get("dependencies", [])}
        for one in (e for e in again.get("dependencies", [])):
            assert one["issue_id"] == record["id"]
    assert by_id["bd-b2"]["metadata"] == {"k": [1, 2.5]}
    assert by_id["bd-b2"]["comments"][0]["text"] == "caf\u00e9"
    assert json.loads(by_id["bd-d4"]["dependencies"][0]["metadata"]) == {"gate": "any-children"}
    assert by_id["memory"] == {"_type": "memory", "key": "m", "value": "remember me"}


def test_an_issue_from_here_comes_back_from_beads(queue, rival, tmp_path):
    queue.create(Draft(title="one", id="one", size=Size.S))
    queue.close("one", Outcome.NEGATIVE, reason="no", evidence=[RAN])
    (line,) = export_lines(queue, to_beads_line)
    fields = json.loads(line)
    assert (fields["status"], "closed_at" in fields) == ("closed", True)
    document = load(queue, [fields]).issues[0].issue
    assert (document["outcome"], document["size"]) == ("negative", "S")
    assert json.loads(to_beads_line(load(queue, [fields]).issues[0])) == fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": "frozen"}, "line 1: status is 'frozen': known are blocked, closed"),
        ({"issue_type": "rig"}, "line 1: issue_type is 'rig': known are bug"),
        ({"dependencies": [edge("bd-1", "x", "likes")]}, "line 1: dependency type is 'likes'"),
        ({"dependencies": [edge("bd-2", "x", "blocks")]}, "line 1: a dependency of 'bd-1'"),
        ({"closed_at": AT}, "line 1: closed_at is set and the status is 'open'"),
        ({"priority": "high"}, "line 1: priority: "),
        ({"title": "a\nb"}, "line 1: the title"),
        ({"created_at": "2026-01-02T03:04:05"}, "line 1: created_at: "),
    ],
)
def test_what_beads_says_and_nobody_knows_is_named(queue, fields, message):
    with pytest.raises(ImportFileError, match=message):
        take(queue, [bead("bd-1", **fields)])


def test_an_edge_that_names_no_issue_is_an_error(queue):
    with pytest.raises(DependencyUnknownError, match=r"line 1: issue 'bd-1' .* 'bd-9'"):
        take(queue, [bead("bd-1", dependencies=[edge("bd-1", "bd-9", "blocks")])])


def test_the_command_line_reads_and_writes_beads(lab, tmp_path):
    path = tmp_path / "issues.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in BEADS))
    runner = CliRunner()
    result = runner.invoke(
        build_app(issue_cli.app), ["import", "--file", str(path), "--format", "beads"]
    )
    assert result.exit_code == 0, result.output
    assert "5 issues imported, 0 known, 1 memories" in result.stdout
    assert "left out: " in result.stderr
    out = tmp_path / "out.jsonl"
    result = runner.invoke(build_app(issue_cli.app), ["export", str(out), "--format", "beads"])
    assert result.exit_code == 0, result.output
    assert len(out.read_text().splitlines()) == 6
