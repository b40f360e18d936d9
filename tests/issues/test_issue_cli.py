import json
import platform
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import issue as issue_cli
from arcfusion.agents.cli.typed import build_app
from arcfusion.core.errors import ArcFusionError, BadInputError, ExitCode
from arcfusion.issues.draft import Draft
from arcfusion.issues.errors import (
    FieldError,
    NothingReadyError,
    PoolFullError,
    QuestionMissingError,
    WipLimitError,
)
from arcfusion.issues.queue import Queue

MAIN = "from arcfusion.agents.cli import app; app.main()"
HANDOFF = ["--tried", "one", "--result", "none", "--next", "two"]


def invoke(*arguments: str):
    result = CliRunner().invoke(build_app(issue_cli.app), [*arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def ask(*arguments: str):
    return json.loads(invoke(*arguments, "--json").stdout)["data"]


def test_an_issue_goes_from_create_to_close(lab):
    made = ask("create", "First", "-p", "P0", "-l", "a,b", "-t", "bug", "--needs", "gpus=1")
    assert (made["priority"], made["labels"], made["type"]) == (0, ["a", "b"], "bug")
    second = ask("create", "Second", "--deps", made["id"], "--acceptance", "it runs")
    assert [issue["id"] for issue in ask("ready")] == [made["id"]]
    claim = ask("claim", "--actor", "w", "--offer", "gpus=1", "--label", "a")
    assert (claim["id"], claim["fence"], claim["assignee"]) == (made["id"], 1, "w")
    own = [made["id"], "--fence", "1", "--actor", "w"]
    assert ask("heartbeat", *own)["holder"] == "w"
    ask("checkpoint", *own, *HANDOFF)
    ask("note", made["id"], "seen", "--fence", "1", "--actor", "w")
    ask("comment", made["id"], "hello")
    closed = ask("close", *own, "--outcome", "done", "--evidence", "command:0:make test")
    assert (closed["status"], closed["outcome"]) == ("closed", "done")
    assert [issue["id"] for issue in ask("ready")] == [second["id"]]
    shown = ask("show", made["id"])
    assert shown["attempts_made"][0]["handoff"]["next"] == "two"
    assert shown["dependents"][0]["sentence"] == f"{second['id']} waits for {made['id']}"
    assert ask("reopen", made["id"], "--reason", "again")["status"] == "open"
    assert ask("blocked")[0]["reasons"] == [f"{second['id']} waits for {made['id']}, which is open"]


def test_a_claim_is_released_failed_requeued_and_updated(lab):
    issue_id = ask("create", "One")["id"]
    for fence in (1, 2, 3):
        ask("claim", "--actor", "w")
        ended = ask(
            "fail", issue_id, "--fence", str(fence), "--actor", "w", "--error", "x", *HANDOFF
        )
        if fence < 3:
            ask("update", issue_id, "--not-before", "1970-01-01T00:00:00")
    assert ended["status"] == "quarantined"
    assert ask("requeue", issue_id, "--reason", "r")["status"] == "open"
    ask("claim", issue_id, "--actor", "w")
    own = [issue_id, "--fence", "4", "--actor", "w", *HANDOFF]
    with pytest.raises(QuestionMissingError):
        invoke("ask", *own, "--question", " ")
    asked = ask("ask", *own, "--question", "Which width?")
    assert (asked["status"], asked["question"]) == ("blocked", "Which width?")
    assert ask("answer", issue_id, "64")["status"] == "open"
    changed = ask("update", issue_id, "-s", "open", "--size", "L", "--metadata", '{"a": 1}')
    assert (changed["status"], changed["size"], changed["metadata"]) == ("open", "L", {"a": 1})


def test_edges_labels_events_and_memories(lab, tmp_path):
    a, b = ask("create", "A")["id"], ask("create", "B")["id"]
    assert ask("dep", "add", b, a, "-t", "waits-for", "--gate", "any-children")["sentence"] == (
        f"{b} waits for any child of {a}"
    )
    assert ask("dep", "list", a)[0]["is_blocking"] is True
    ask("dep", "remove", b, a, "-t", "waits-for")
    assert ask("dep", "list", a) == []
    assert ask("label", "add", a, "x")["labels"] == ["x"]
    assert ask("list", "-l", "x")[0]["id"] == a
    assert ask("label", "remove", a, "x")["labels"] == []
    assert [event["seq"] for event in ask("events")] == [1, 2, 3, 4, 5, 6]
    assert len(ask("events", a)) == 3
    key = ask("remember", "large dt underflows", "--issue", a)["key"]
    assert ask("recall", "underflows")[0]["key"] == key
    plan = tmp_path / "plan.yaml"
    plan.write_text("plan: p\nissues: [{key: a, title: A}]")
    assert ask("import", "--plan", str(plan))["new_keys"] == ["a"]
    assert ask("import", "--plan", str(plan))["new_keys"] == []


def test_people_get_tables_and_sentences(lab):
    empty = invoke("ready")
    assert empty.stdout == ""
    assert "nothing is ready" in empty.stderr
    a = invoke("create", "Make it work", "-l", "x").stdout.strip()
    b = invoke("create", "Then fast", "--deps", a)
    assert f"waits for {a}" in b.stderr
    assert "Make it work" in invoke("ready").stdout
    assert f"waits for {a}, which is open" in invoke("ready", "--explain").stdout
    assert "fence 1" in invoke("claim", a, "--actor", "w").stdout
    assert "in_progress" in invoke("list", "--status", "in_progress").stdout
    shown = invoke("show", a).stdout
    assert "attempt 1 by w: running" in shown
    assert "claimed" in invoke("events", a).stdout
    assert "Then fast" in invoke("blocked").stdout


def test_ten_brief_issues_fit_into_1200_bytes(lab):
    with Queue(lab, "alice") as queue:
        queue.create_all([Draft(title=f"{n} " + "long title " * 20) for n in range(12)])
    text = invoke("ready", "-n", "10", "--brief", "--json").stdout
    assert len(json.loads(text)["data"]) == 10
    assert len(text.encode()) <= 1200


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["claim", "nope"], ExitCode.BAD_INPUT),
        (["claim"], ExitCode.NOT_FOUND),
        (["show", "nope"], ExitCode.BAD_INPUT),
        (["create", " "], ExitCode.BAD_INPUT),
        (["create", "x", "-p", "9"], ExitCode.BAD_INPUT),
        (["create", "x", "-t", "saga"], ExitCode.BAD_INPUT),
        (["create", "x", "--metadata", "[]"], ExitCode.BAD_INPUT),
        (["create", "x", "--metadata", "{"], ExitCode.BAD_INPUT),
        (["create", "x", "--needs", "gpus=many"], ExitCode.BAD_INPUT),
        (["create", "x", "--deps", "nope"], ExitCode.BAD_INPUT),
        (["create", "x", "--deps", "holds:nope"], ExitCode.BAD_INPUT),
        (["list", "--status", "lost"], ExitCode.BAD_INPUT),
        (["update", "nope"], ExitCode.BAD_INPUT),
        (["update", "nope", "--not-before", "soon"], ExitCode.BAD_INPUT),
        (["close", "nope", "--outcome", "great"], ExitCode.BAD_INPUT),
        (["recall", "nothing"], ExitCode.NOT_FOUND),
        (["events", "nope"], ExitCode.BAD_INPUT),
        (["import", "--plan", "nope.yaml"], ExitCode.BAD_INPUT),
    ],
)
def test_bad_input_is_named_and_writes_nothing(lab, arguments, code):
    with pytest.raises(ArcFusionError) as caught:
        invoke(*arguments)
    assert caught.value.exit_code == code
    with Queue(lab, "alice") as queue:
        assert queue.events() == []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True, check=False
    )


def test_the_loser_of_a_claim_exits_13_with_one_json_error(lab):
    with Queue(lab, "alice") as queue:
        issue_id = queue.create(Draft(title="x")).id
        queue.claim(issue_id)
    lost = run("issue", "claim", issue_id, "--actor", "bob", "--json")
    assert (lost.returncode, lost.stdout) == (13, "")
    error = json.loads(lost.stderr)
    assert (error["code"], error["retryable"]) == ("already_claimed", False)
    assert run("issue", "claim", "--actor", "bob").returncode == 3


def test_ready_loads_nothing_heavy(lab):
    code = (
        "import sys; from arcfusion.agents.cli import app;"
        "sys.argv = ['arcfusion', 'issue', 'ready']; "
        "app.plain.parse(app.ROOT, sys.argv[1:])();"
        "heavy = {'sqlmodel', 'sqlalchemy', 'torch', 'numpy', 'rich', 'yaml', 'anthropic', 'git',"
        " 'pydantic', 'typer', 'arcfusion.agents.cli.issue.filing', 'arcfusion.issues.history',"
        " 'arcfusion.issues.editing', 'arcfusion.issues.evidence'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("ARCFUSION_LEASE_S", "0", "above 0"),
        ("ARCFUSION_LEASE_S", "soon", "a number of seconds"),
        ("ARCFUSION_LEASE_S", "5", "three heartbeats"),
        ("ARCFUSION_MAX_ATTEMPTS", "0", "a whole number from 1"),
        ("ARCFUSION_WIP_LIMIT", "many", "a whole number from 1"),
    ],
)
@pytest.mark.usefixtures("lab")
def test_a_setting_that_is_not_allowed_is_named(monkeypatch, name, text, words):
    monkeypatch.setenv(name, text)
    with pytest.raises(BadInputError, match=words):
        invoke("claim")


@pytest.mark.usefixtures("lab")
def test_a_claim_at_the_command_line_has_the_lease_of_the_settings(monkeypatch):
    monkeypatch.setenv("ARCFUSION_LEASE_S", "300")
    ask("create", "x")
    assert ask("claim")["lease_s"] == 300


def test_a_pool_is_set_claimed_from_and_shown(lab):
    assert ask("capacity") == []
    (made,) = ask("capacity", "--pool", "p", "--gpus", "2", "--gpu-memory-gib", "1.5")
    assert (made["gpus"], made["gpu_memory_bytes"], made["free"]) == (2, 3 << 29, 2)
    first = ask("create", "one", "--needs", "gpus=1")["id"]
    second = ask("create", "two", "--needs", "gpus=2")["id"]
    assert ask("claim", "--pool", "p", "--actor", "w")["id"] == first
    (shown,) = ask("capacity", "--pool", "p")
    assert (shown["used"], shown["free"], shown["is_reserved"]) == (1, 1, False)
    assert ask("capacity", "--pool", "q") == []
    with pytest.raises(PoolFullError):
        ask("claim", second, "--pool", "p")
    assert invoke("capacity").stdout.splitlines()[1].split()[:4] == ["p", "2", "1", "1"]
    assert ask("show", first)["lease"]["pool"] == "p"


def test_the_default_pool_is_the_setting_and_then_the_host(lab, monkeypatch):
    ask("capacity", "--gpus", "1")
    assert ask("capacity")[0]["pool"] == platform.node()
    ask("create", "one", "--needs", "gpus=1")
    monkeypatch.setenv("ARCFUSION_POOL", "other")
    with pytest.raises(NothingReadyError):
        ask("claim")
    monkeypatch.delenv("ARCFUSION_POOL")
    ask("claim")
    assert ask("capacity")[0]["used"] == 1


def test_explain_says_the_rule_and_why_an_issue_does_not_fit(lab):
    plain = ask("create", "plain", "--minutes", "90")["id"]
    big = ask("create", "big", "--needs", "gpus=2", "--needs", "skill=cuda")["id"]
    found = ask("ready", "--explain", "--offer", "gpus=1", "--offer", "minutes=60")
    assert found["order"] == ["priority", "created_at", "id"]
    assert found["rule"].startswith("priority 0 before 4")
    assert found["ready"] == []
    reasons = {one["id"]: one["reasons"] for one in found["does_not_fit"]}
    assert reasons == {
        plain: ["it takes about 90 minutes, the worker has 60 left"],
        big: [
            "it needs 2 GPUs, the worker offers 1",
            "it needs the skills cuda, which are not offered",
        ],
    }
    ask("capacity", "--pool", "p", "--gpus", "1")
    text = invoke("ready", "--explain", "--pool", "p", "--offer", "skill=cuda").stdout
    assert "it needs 2 GPUs, the pool 'p' has 1" in text
    assert "order: priority 0 before 4" in text
    assert ask("ready", "--explain")["does_not_fit"] == []


def test_an_order_is_named(lab):
    first = ask("create", "old", "-p", "P4")["id"]
    second = ask("create", "new", "-p", "P0")["id"]
    assert [one["id"] for one in ask("ready", "--sort", "oldest")] == [first, second]
    found = ask("ready", "--explain", "--sort", "unblocks")
    assert found["order"] == ["unblocks", "priority", "created_at", "id"]
    assert "20000 dependencies" in found["rule"]
    with pytest.raises(FieldError, match="allowed are priority, oldest, unblocks"):
        ask("ready", "--sort", "newest")
    assert ask("claim", "--sort", "oldest")["id"] == first


def test_a_person_is_limited_only_by_the_setting(lab, monkeypatch):
    for title in "abcd":
        ask("create", title)
    ask("claim", "--actor", "w", "--session", "s")
    with pytest.raises(WipLimitError):
        ask("claim", "--actor", "w", "--session", "s")
    ask("claim", "--actor", "w")
    ask("claim", "--actor", "w")
    monkeypatch.setenv("ARCFUSION_WIP_LIMIT", "2")
    with pytest.raises(WipLimitError):
        ask("claim", "--actor", "w")
    for value in ("0", "x"):
        monkeypatch.setenv("ARCFUSION_WIP_LIMIT", value)
        with pytest.raises(BadInputError, match="ARCFUSION_WIP_LIMIT"):
            ask("claim", "--actor", "w")


@pytest.mark.parametrize(
    "arguments",
    [
        ("claim", "--offer", "minutes=x"),
        ("claim", "--offer", "gpus"),
        ("claim", "--offer", "gpus=-1"),
        ("create", "x", "--needs", "minutes=5"),
        ("capacity", "--gpus", "-1"),
        ("capacity", "--gpu-memory-gib", "nan", "--gpus", "1"),
        ("capacity", "--gpu-memory-gib", "1"),
        ("capacity", "--pool", "two words", "--gpus", "1"),
    ],
    ids=" ".join,
)
def test_what_is_not_allowed_is_bad_input(lab, arguments):
    with pytest.raises(BadInputError):
        invoke(*arguments)
    assert ask("capacity") == []
