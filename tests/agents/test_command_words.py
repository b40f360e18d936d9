"""This fails when a plain word is read other than typer reads it, or loads pydantic."""

import os
import subprocess
import sys
from typing import Annotated

import pytest
import typer
import typer.core
from hypothesis import given, settings
from hypothesis import strategies as st

from arcfusion.agents.cli.parameter import Command

USAGE_ERROR = typer.BadParameter.__bases__[0]


def take(
    word: str,
    number: Annotated[int, typer.Option("--number", min=-3, max=12)] = 3,
    most: Annotated[int, typer.Option("--most", min=0, max=9, clamp=True)] = 3,
    share: Annotated[float, typer.Option("--share")] = 0.5,
    names: Annotated[list[str] | None, typer.Option("--name")] = None,
    text: Annotated[str | None, typer.Option("--text")] = None,
    shout: Annotated[str, typer.Option("--shout", parser=str.upper)] = "a",
    flag: Annotated[bool, typer.Option("--flag")] = False,
) -> tuple[object, ...]:
    return (word, number, most, share, names, text, shout, flag)


def build(cls: type[typer.core.TyperCommand]) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(cls=cls)(take)
    return app


LIGHT, OWN = build(Command), build(typer.core.TyperCommand)


def read(app: typer.Typer, words: list[str]) -> object:
    """What the command got, or the message of its refusal."""
    try:
        return app(words, standalone_mode=False)
    except USAGE_ERROR as error:
        return type(error).__name__, error.format_message()


word = st.text(alphabet="ab01-+_. x\u0663\u00b2", max_size=4) | st.integers(-20, 20).map(str)
option = st.sampled_from(
    ["--number", "--most", "--share", "--name", "--text", "--shout", "--flag", "--none"]
)


@settings(deadline=None, max_examples=120)
@given(st.lists(word | option, max_size=6))
def test_every_line_is_read_as_typer_reads_it(words: list[str]) -> None:
    assert read(LIGHT, words) == read(OWN, words)


@pytest.mark.parametrize(
    "value", ["12", "13", "-4", "007", "1_0", " 5", "5.0", "0x1", "9" * 19, "9" * 400, "", "\u0663"]
)
def test_every_number_is_read_as_typer_reads_it(value: str) -> None:
    for name in ("--number", "--most"):
        assert read(LIGHT, ["w", name, value]) == read(OWN, ["w", name, value])


HOT = {
    "ready": ["ready", "--json"],
    "claim": ["claim", "--json", "--label", "x", "--offer", "gpus=1"],
    "heartbeat": ["heartbeat", "a-1", "--fence", "7", "--json"],
    "close": ["close", "a-1", "--fence", "7", "--outcome", "wontdo", "--reason", "no", "--json"],
}
HEAVY = ("pydantic", "sqlalchemy", "sqlmodel", "rich", "yaml", "importlib.metadata", "hashlib")
PROBE = """
import sys
sys.argv = ["arcfusion", "issue", *sys.argv[1:]]
from arcfusion.agents.cli.app import main
try:
    main()
except SystemExit:
    pass
print("LOADED", *sorted(sys.modules))
"""


@pytest.mark.parametrize("verb", HOT)
def test_a_hot_verb_loads_nothing_that_it_does_not_need(verb: str, home, monkeypatch) -> None:
    monkeypatch.chdir(home.workspace_path)
    # The measurement of coverage loads hashlib itself.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *HOT[verb]],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.split("LOADED", 1)[1].split()
    assert [name for name in HEAVY if name in loaded] == []
    modules = {name for name in loaded if name.startswith("arcfusion.agents.cli.issue.")}
    expected = "listing" if verb == "ready" else "working"
    assert modules == {f"arcfusion.agents.cli.issue.{name}" for name in (expected, "options")}
