import json
import signal
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import issue as issue_cli
from arcfusion.agents.cli.typed import build_app
from arcfusion.core import store
from arcfusion.issues.document import DERIVED, IssueDocument
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.errors import (
    DependencyCycleError,
    DependencyUnknownError,
    ExportUnwritableError,
    ImportFileError,
    IssueExistsError,
)
from arcfusion.issues.export import export_lines, write_lines
from arcfusion.issues.lines import ISSUE_COLUMNS, read_lines
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import EdgeType


@pytest.fixture
def other(make_lab, tmp_path, fake_clock):
    with Queue(make_lab(tmp_path / "other"), "carol", clock=fake_clock) as opened:
        yield opened


def take(queue: Queue, lines: list[str]):
    return queue.import_all(list(read_lines(lines, name="lab.jsonl")))


def edit(line: str, **fields) -> str:
    return json.dumps(json.loads(line) | fields)


def test_every_column_of_an_issue_travels(lab):
    with closing(store.connect(lab)) as connection:
        described = connection.execute("SELECT * FROM issue").description
        names = {name for name, *_ in described}
    assert names == set(ISSUE_COLUMNS) | DERIVED


def test_a_claim_travels_with_its_lease_and_is_given_back_when_it_ran_out(queue, other, fake_clock):
    issue_id = queue.create(Draft(title="one")).id
    claim = queue.claim(issue_id)
    take(other, list(export_lines(queue)))
    assert other.show(issue_id).lease.expires_at == claim.lease_expires_at
    fake_clock.pass_s(61)
    assert other.claim().fence == claim.fence + 1
    assert other.fetch(issue_id).losses == 1


def test_edges_to_issues_that_are_here_count_at_once(queue, other):
    parent, waiter = other.create(Draft(title="p", id="p")), other.create(Draft(title="w", id="w"))
    other.add_dependency(waiter.id, Edge(EdgeType.WAITS_FOR, parent.id))
    other.update("p", {"status": "deferred"})
    queue.create(Draft(title="p", id="p"))
    queue.create(Draft(title="c", id="c", edges=(Edge(EdgeType.PARENT_CHILD, "p"),)))
    child = [line for line in export_lines(queue) if '"id":"c"' in line]
    before = other.fetch("w").blocked_by
    take(other, child)
    assert (before, other.fetch("w").blocked_by) == (1, 1)
    other.close("c", "wontdo", reason="no")
    assert other.fetch("w").blocked_by == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "done"}, "lab.jsonl, line 2: status: "),
        ({"status": "closed"}, "line 2: issue .* is closed: closed_at and outcome"),
        ({"status": "in_progress"}, "line 2: issue .* a lease belongs"),
        ({"title": ""}, "line 2: the title '' is not allowed"),
        ({"priority": 7}, "line 2: priority: "),
        ({"colour": "red"}, "line 2: colour: "),
        ({"schema": 2}, "line 2: schema: "),
        ({"labels": ["a b"]}, "line 2: label 'a b'"),
        ({"id": "a"}, "line 2: id 'a' is in lab.jsonl, line 1 too"),
        ({"evidence": [{"kind": "rumour", "value": "x"}]}, "line 2: evidence is not allowed"),
        ({"created_at": "soon"}, "line 2: created_at: "),
        ({"fence": 2**63}, "line 2: fence: "),
    ],
)
def test_a_line_that_is_not_allowed_is_named_and_nothing_is_written(queue, other, change, message):
    for name in "ab":
        queue.create(Draft(title=name, id=name))
    first, second = export_lines(queue)
    with pytest.raises(ImportFileError, match=message):
        take(other, [first, edit(second, **change)])
    assert other.list() == []


@pytest.mark.parametrize("line", ["{", "[]", '{"a": NaN}', '"text"', "[" * 100_000])
def test_a_line_that_is_no_object_is_named(line):
    with pytest.raises(ImportFileError, match=r"x, line 2: "):
        list(read_lines(["", line], name="x"))


def test_an_import_that_breaks_the_graph_is_refused_whole(queue, other):
    queue.create(Draft(title="a", id="a"))
    queue.create(Draft(title="b", id="b", edges=(Edge(EdgeType.BLOCKS, "a"),)))
    queue.create(Draft(title="c", id="c", edges=(Edge(EdgeType.BLOCKS, "b"),)))
    a, b, c = export_lines(queue)
    with pytest.raises(DependencyUnknownError, match=r"line 1: issue 'b' can not depend on 'a'"):
        take(other, [b])
    back = [json.loads(b)["dependencies"][0] | {"depends_on_id": "c"}]
    with pytest.raises(DependencyCycleError, match=r"line 1: .* a -> c -> b -> a"):
        take(other, [edit(a, dependencies=back), b, c])
    assert other.list() == []
    assert other.events() == []


def test_a_cycle_through_waiting_for_children_is_refused(queue, other):
    queue.create(Draft(title="p", id="p"))
    queue.create(Draft(title="w", id="w", edges=(Edge(EdgeType.WAITS_FOR, "p"),)))
    queue.create(Draft(title="c", id="c", edges=(Edge(EdgeType.PARENT_CHILD, "p"),)))
    c, p, w = export_lines(queue)
    own = json.loads(c)["dependencies"]
    closing_edge = own[0] | {"depends_on_id": "w", "type": "blocks"}
    with pytest.raises(DependencyCycleError, match="close a circle"):
        take(other, [p, w, edit(c, dependencies=[*own, closing_edge])])


def test_another_issue_of_the_same_id_or_key_is_refused(queue, other):
    queue.create(Draft(title="a", id="a", idempotency_key="k"))
    other.create(Draft(title="other", id="b", idempotency_key="k"))
    (line,) = export_lines(queue)
    with pytest.raises(IssueExistsError, match=r"line 1: the idempotency key 'k' is that of 'b'"):
        take(other, [line])
    with pytest.raises(IssueExistsError, match="line 1: there is another issue 'a' here"):
        take(queue, [edit(line, title="changed")])


def test_a_failing_export_keeps_the_old_file(tmp_path):
    path = tmp_path / "issues.jsonl"
    path.write_text("old\n")

    def broken():
        yield "new"
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        write_lines(path, broken())
    assert path.read_text() == "old\n"
    assert [one.name for one in tmp_path.iterdir()] == ["issues.jsonl"]
    with pytest.raises(ExportUnwritableError, match="can not write"):
        write_lines(tmp_path / "none" / "x.jsonl", ["new"])


def test_a_kill_during_an_export_keeps_the_old_file(tmp_path):
    path = tmp_path / "issues.jsonl"
    path.write_text("old\n")
    script = """
        import itertools, sys
        from pathlib import Path
        from arcfusion.issues.export import write_lines
        def lines():
            for number in itertools.count():
                if number == 20_000:
                    print("writing", flush=True)
                    sys.stdin.read()
                yield "x" * 100
        write_lines(Path(sys.argv[1]), lines())
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout.readline() == "writing\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert path.read_text() == "old\n"


def invoke(*arguments: str, code: int = 0):
    result = CliRunner().invoke(build_app(issue_cli.app), [*arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert result.exception.exit_code == code
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def test_the_command_line_exports_imports_and_verifies(lab, queue, tmp_path, other, monkeypatch):
    queue.create(Draft(title="a", id="a"))
    queue.remember("something", key="m")
    path = tmp_path / "issues.jsonl"
    printed = invoke("export").stdout
    invoke("export", str(path))
    assert path.read_text() == printed
    assert [json.loads(line)["kind"] for line in printed.splitlines()] == ["issue", "memory"]
    assert "2 events rebuild 1 issues" in invoke("verify").stdout
    monkeypatch.chdir(other.home.path.parent)
    for expected in ("1 issues imported, 0 known, 1 memories", "0 issues imported, 1 known, 0"):
        assert expected in invoke("import", "--file", str(path)).stdout
    done = json.loads(invoke("import", "--file", str(path), "--json").stdout)["data"]
    assert done == {"new_ids": [], "known_ids": ["a"], "memories": 0}
    assert invoke("export").stdout == printed
    assert isinstance(next(read_lines([printed.splitlines()[0]], name="x")), IssueDocument)


def test_the_command_line_refuses_a_missing_file_and_both_sources(lab, tmp_path):
    with pytest.raises(ImportFileError, match="can not read"):
        invoke("import", "--file", str(tmp_path / "none"), code=2)
    binary = tmp_path / "x"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ImportFileError, match="can not read"):
        invoke("import", "--file", str(binary), code=2)
    with pytest.raises(Exception, match="either --plan FILE or --file FILE"):
        invoke("import", code=2)
