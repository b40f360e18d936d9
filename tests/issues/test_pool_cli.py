"""This fails when the command line loses a pool, an order or a limit."""

import json
import platform

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import issue as issue_cli
from arcfusion.core.errors import BadInputError
from arcfusion.issues.errors import FieldError, NothingReadyError, PoolFullError, WipLimitError


def invoke(*arguments: str):
    result = CliRunner().invoke(issue_cli.build_app(), [*arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def ask(*arguments: str):
    return json.loads(invoke(*arguments, "--json").stdout)["data"]


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
