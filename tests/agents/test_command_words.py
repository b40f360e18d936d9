"""This fails when a line is read other than typer reads it, or a plain one waits for typer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcfusion.agents.cli import app as cli
from arcfusion.agents.cli import plain, typed
from arcfusion.agents.cli.output import Json
from arcfusion.agents.cli.parameter import Argument, Command, Group, Option, list_parameters
from arcfusion.core.errors import BadInputError

got: dict[str, object] = {}


def take(
    word: Annotated[str, Argument(help="a")],
    path: Annotated[Path, Option("--path", help="a")],
    second: Annotated[str | None, Argument(metavar="[WORD]", help="a")] = None,
    number: Annotated[int, Option("--number", "-n", min=-3, max=12, help="a")] = 3,
    count: Annotated[int | None, Option("--count", min=1, help="a")] = None,
    share: Annotated[float | None, Option("--share", help="a")] = None,
    names: Annotated[list[str] | None, Option("--name", "-l", help="a")] = None,
    text: Annotated[str, Option("--text", help="a")] = "",
    flag: Annotated[bool, Option("--flag", "-f", help="a")] = False,
) -> None:
    got.update(locals())


DEEP = Group(help="Of groups.")
DEEP.verbs |= {"take": take, "deeper": Group(help="A group.", places={"take": f"{__name__}:take"})}


@DEEP.command("second")
def take_none(flag: Annotated[bool, Option("--flag", help="a")] = False) -> None:
    got.update(locals())


APP = typed.build_app(take)


def run_plain(words: list[str]) -> dict[str, object] | None:
    """What the command got, or None when the line is left to typer."""
    got.clear()
    values = plain.read(take, words)
    if values is None:
        return None
    take(**values)
    return {**got}


def run_typed(words: list[str]) -> object:
    """What the command got, or the message of its refusal."""
    got.clear()
    try:
        APP(words, standalone_mode=False)
    except typed.USAGE_ERROR as error:
        return type(error).__name__, error.format_message()
    return {**got}


values = st.text(alphabet="ab01-+_.= x\u0663\u00b2", max_size=4) | st.integers(-20, 20).map(str)
flags = st.sampled_from(
    ["--path", "--number", "-n", "--count", "--share", "--name", "-l", "--text", "--flag", "-f"]
)
joined = st.builds("{}={}".format, flags, values)
pairs = st.tuples(flags, values)
words = (values | flags | joined | st.sampled_from(["--none", "--", "-", "-fn", "-n3"])).map(
    lambda one: (one,)
)


@settings(deadline=None, max_examples=400)
@given(st.lists(words | pairs, max_size=6), st.booleans())
def test_a_line_is_left_to_typer_or_read_as_typer_reads_it(found, is_whole: bool) -> None:
    line = [one for some in found for one in some] + (["w", "--path", "p"] if is_whole else [])
    mine = run_plain(line)
    assert mine is None or mine == run_typed(line)


@pytest.mark.parametrize(
    "value",
    ["12", "13", "-4", "007", "1_0", " 5", "5.", "5.0", ".5", ".", "0x1", "1e3", "nan", "",
     "\u0663", "\u00b2", "9" * 19, "9" * 400],
)  # fmt: skip
def test_every_number_is_left_to_typer_or_read_as_typer_reads_it(value: str) -> None:
    for name in ("--number", "--count", "--share"):
        line = ["w", "--path", "p", name, value]
        mine = run_plain(line)
        assert mine is None or mine == run_typed(line)


PLAIN = [
    ["w", "--path", "p"],
    ["w", "v", "--path=p", "-n", "7", "--share", "0.5"],
    ["--flag", "-l", "a", "w", "--name", "", "--name=b=c", "--path", "p", "--text="],
]


@pytest.mark.parametrize("line", PLAIN, ids=" ".join)
def test_a_plain_line_is_read_without_typer(line: list[str]) -> None:
    mine = run_plain(line)
    assert mine is not None
    assert mine == run_typed(line)


@pytest.mark.parametrize(
    "line",
    [[], ["w"], ["--path", "p"], ["w", "--path"], ["w", "v", "x", "--path", "p"], ["--", "w"],
     ["w", "--path", "p", "--help"], ["w", "--path", "p", "-fn3"], ["w", "--path", "p", "-n3"],
     ["w", "--path", "p", "--number", "13"], ["w", "--path", "p", "--number", "-1"],
     ["w", "--path", "p", "--path", "q"], ["w", "--path", "p", "--flag=1"],
     ["w", "--path", "p", "--text", "-x"], ["w", "--path", "p", "-"], ["w", "--path", "p", "-n=3"]],
    ids=" ".join,
)  # fmt: skip
def test_what_is_not_plain_is_left_to_typer(line: list[str]) -> None:
    assert plain.read(take, line) is None


@pytest.mark.parametrize(
    "line", [["second"], ["second", "--flag"], ["deeper", "take", "w", "--path=p"]]
)
def test_a_verb_is_found_in_its_group_either_way(line: list[str]) -> None:
    found = []
    for parse in (plain.parse, lambda *line: typed.parse(*line, as_json=False)):
        got.clear()
        parse(DEEP, line)()
        found.append({**got})
    assert found[0] == found[1]
    assert "flag" in found[0]


@pytest.mark.parametrize(
    "line", [[], ["deeper"], ["none"], ["deeper", "none"], ["--flag", "second"]]
)
def test_a_line_without_a_verb_is_left_to_typer(line: list[str]) -> None:
    assert plain.parse(DEEP, line) is None


def commands(group: Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    for verb in group.verbs:
        found = group.load(verb)
        if isinstance(found, Group):
            yield from commands(found, (*path, verb))
        else:
            yield (*path, verb), found


def test_every_command_has_a_line_that_needs_no_typer() -> None:
    """This also fails when a parameter has no declaration, or a required one is of another type."""
    read = []
    for path, command in commands(cli.ROOT):
        line = [*path]
        for parameter in list_parameters(command):
            is_option = isinstance(parameter.declaration, Option)
            if parameter.is_required:
                line += [parameter.declaration.flags[0], "7"] if is_option else ["7"]
        call = plain.parse(cli.ROOT, line)
        assert call is not None, line
        assert call.func is command, line
        read.append(path)
    assert len(read) >= 45


PLAIN_TYPES = {str, int, bool, float, Path, list[str]}
PLAIN_TYPES |= {str | None, int | None, float | None, Path | None, list[str] | None}
"""Types whose values are read without typer."""


def test_every_option_of_a_plain_type_is_read_without_typer() -> None:
    left = set()
    for path, command in commands(cli.ROOT):
        for parameter in list_parameters(command):
            if isinstance(parameter.declaration, Option) and parameter.kind not in PLAIN_TYPES:
                left.add(" ".join((*path, parameter.declaration.flags[0])))
    assert left == {
        "insights list --status",
        "issue export --format",
        "issue import --format",
        "issue split --hours",
        "leaderboard --sort",
    }


HOT = {
    "ready": ["ready", "--json"],
    "claim": ["claim", "--json", "--label", "x", "--offer", "gpus=1"],
    "heartbeat": ["heartbeat", "a-1", "--fence", "7", "--json"],
    "close": ["close", "a-1", "--fence", "7", "--outcome", "wontdo", "--reason", "no", "--json"],
}
HEAVY = (
    *("typer", "pydantic", "sqlalchemy", "sqlmodel", "rich", "yaml", "importlib.metadata"),
    *("hashlib", "subprocess", "argparse"),
)
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


def load(words: list[str]) -> tuple[list[str], str]:
    """Run a verb; return the modules that it loaded, and its message."""
    # The measurement of coverage loads hashlib itself.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("LOADED", 1)[1].split(), done.stderr


@pytest.mark.parametrize("verb", HOT)
def test_a_hot_verb_loads_nothing_that_it_does_not_need(verb: str, home, monkeypatch) -> None:
    monkeypatch.chdir(home.workspace_path)
    loaded, _ = load(HOT[verb])
    assert [name for name in HEAVY if name in loaded] == []
    modules = {name for name in loaded if name.startswith("arcfusion.agents.cli.issue.")}
    expected = "listing" if verb == "ready" else "working"
    assert modules == {f"arcfusion.agents.cli.issue.{name}" for name in (expected, "options")}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            ["heartbeat", "--fence", "7", "--", "a-1"],
            "no issue 'a-1': `arcfusion issue list` shows",
        ),
        (["heartbeat", "a-1"], "Missing option '--fence': see `arcfusion issue heartbeat --help`"),
        (["ready", "--limit", "0"], "Invalid value for '--limit'"),
    ],
    ids=" ".join,
)
def test_a_line_that_is_not_plain_is_typer_s(line, message: str, home, monkeypatch) -> None:
    monkeypatch.chdir(home.workspace_path)
    loaded, said = load(line)
    assert "typer" in loaded
    assert said.startswith(f"error: {message}")


def interrupt() -> None:
    raise KeyboardInterrupt


def refuse() -> None:
    raise BadInputError("no")


def leave() -> None:
    raise SystemExit(5)


def end(words: list[str], monkeypatch, capsys) -> tuple[object, str, str]:
    monkeypatch.setattr(sys, "argv", ["arcfusion", *words])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    return leaving.value.code, *capsys.readouterr()


@pytest.mark.parametrize(("command", "code"), [(interrupt, 130), (refuse, 2), (leave, 5)])
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_a_command_ends_the_same_either_way(command, code, more, monkeypatch, capsys) -> None:
    def run(json: Json = False) -> None:
        command()

    root = Group(help="Of one verb.", version="0")
    root.command("run")(run)
    monkeypatch.setattr(cli, "ROOT", root)
    mine, other = (end(["run", *more, *last], monkeypatch, capsys) for last in ([], ["--"]))
    assert mine == other
    assert mine[:2] == (code, "")
    assert ("{" in mine[2]) is (command is not leave and bool(more))


@pytest.mark.parametrize("last", [[], ["--"]], ids=["plain", "typed"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_is_no_error(last: list[str], stream: str) -> None:
    code = (
        "import sys; from arcfusion.agents.cli import app\n"
        f"def run(): sys.{stream}.write('x' * 1_000_000)\n"
        "app.ROOT.verbs['run'] = run; app.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "run", *last], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        getattr(process, stream).close()
        said = (process.stderr if stream == "stdout" else process.stdout).read()
    assert (process.returncode, said) == (1, b"")
