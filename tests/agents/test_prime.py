"""This fails when the first text of an agent is too long, names wrong commands, or hides things."""

import json
import re
import shlex
import subprocess
import sys
from contextlib import closing

import typer
from typer.testing import CliRunner

from arcfusion.agents.bench import queue_context
from arcfusion.agents.cli import app as cli
from arcfusion.agents.cli.typed import build_app
from arcfusion.agents.prime import MAX_TOKENS, build_prime, estimate_tokens
from arcfusion.core import store
from arcfusion.issues.draft import Draft
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue

HANDOFF = Handoff(tried="t", result="r", next="n")


def prime(home, actor: str = "alice") -> str:
    with Queue(home, actor) as view:
        return build_prime(view, actor)


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}")[2].partition("\n## ")[0]


def test_an_empty_lab_says_how_to_work_and_that_nothing_is_ready(home):
    text = prime(home)
    assert "Exit 3: nothing is ready" in text
    assert "nothing: `arcfusion issue blocked`" in section(text, "Ready: 0")
    assert "Remembered" not in text


def test_the_worst_lab_fits_into_the_budget(home):
    queue_context.fill(home, 300)
    snake = "\U0001f40d" * 500
    with Queue(home, "alice") as queue:
        queue.create_all([Draft(title=snake, id=f"{n}-{'x' * 78}", priority=0) for n in range(9)])
        for n in range(9):
            queue.remember(f"{n} {snake}", key=f"{n}{'k' * 79}")
        for _ in range(4):
            queue.release(queue.claim(), HANDOFF, question=snake)
            queue.claim()
    with closing(store.connect(home)) as connection, store.write(connection):
        connection.execute("UPDATE insight SET claim = ?", (snake,))
    for actor in ("alice", "nobody", "a" * 5000):
        text = prime(home, actor)
        assert estimate_tokens(text) <= MAX_TOKENS
        assert len(text) < 10_000


def test_what_matters_is_there(home):
    queue_context.fill(home, 40)
    with Queue(home, "bob") as queue:
        held = queue.create(Draft(title="Does the scan underflow in bf16?", priority=0)).id
        queue.claim(held)
        key = queue.remember("The scan underflows when dt is large")
        old = queue.remember("The scan never underflows")
        queue.remember("It does", supersedes=old)
        asked = queue.create(Draft(title="Which width?", priority=0)).id
        queue.release(queue.claim(asked), HANDOFF, question="64 or 128?")
        ready = queue.create(Draft(title="Next one", priority=0)).id
    text = prime(home, "bob")
    assert f"{held} fence 1" in section(text, "Held by you")
    assert f"{ready} P0 Next one" in section(text, "Ready: ")
    assert f"{asked}: 64 or 128?" in section(text, "Waiting for a person: ")
    assert f"- {key}: The scan underflows" in section(text, "Remembered")
    assert old not in text
    assert "1970-01-01 ins-39 open" in section(text, "Newest findings")
    disputed = section(text, "Findings that contradict each other")
    assert {"1970-01-01 ins-30", "1970-01-01 ins-31"} <= set(
        re.findall(r"1970\S+ ins-\d+", disputed)
    )
    assert held not in prime(home, "carol").partition("## Ready")[0]


def test_every_command_that_it_shows_exists(home):
    application = build_app(cli.ROOT)
    commands = typer.main.get_command(application)
    shown = re.findall(r"`(arcfusion [^`]+)`", prime(home))
    assert len(shown) >= 8
    for line in shown:
        words = shlex.split(line.replace("[", " ").replace("]", " "))[1:]
        command, path = commands, []
        while words and words[0] in getattr(command, "commands", {}):
            command, path = command.commands[words[0]], [*path, words.pop(0)]
        result = CliRunner().invoke(application, [*path, "--help"])
        assert result.exit_code == 0
        assert not getattr(command, "commands", {}), line
        for option in re.findall(r"--[a-z-]+", line):
            assert option in result.output, (line, option)


def test_prime_loads_nothing_heavy(home):
    code = (
        "import sys; from pathlib import Path; from arcfusion.agents.prime import build_prime;"
        "from arcfusion.core.home import Home; from arcfusion.issues.view import View;"
        "print(build_prime(View(Home(Path(sys.argv[1]))), 'w'));"
        "heavy = {'sqlmodel', 'sqlalchemy', 'pydantic', 'torch', 'numpy', 'rich', 'yaml', 'git'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_command_prints_it_as_text_and_as_json(home, monkeypatch):
    monkeypatch.chdir(home.workspace_path)
    text = CliRunner().invoke(build_app(cli.ROOT, ["prime"]), ["prime", "--actor", "w"]).stdout
    assert text.startswith("# ArcFusion, for w")
    printed = (
        CliRunner()
        .invoke(build_app(cli.ROOT, ["prime"]), ["prime", "--actor", "w", "--json"])
        .stdout
    )
    data = json.loads(printed)["data"]
    assert data["text"].strip() == text.strip()
    assert data["tokens"] == estimate_tokens(data["text"])
    assert len(printed) < 10_000


def test_the_figures_are_those_of_the_settings(home, monkeypatch):
    monkeypatch.chdir(home.workspace_path)
    monkeypatch.setenv("ARCFUSION_LEASE_S", "300")
    monkeypatch.setenv("ARCFUSION_HEARTBEAT_S", "45")
    text = CliRunner().invoke(build_app(cli.ROOT, ["prime"]), ["prime"]).stdout
    assert "every 45 s; the lease ends after 300 s" in text
