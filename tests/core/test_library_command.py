import json

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import generate
from arcfusion.agents.cli.app import ROOT
from arcfusion.agents.cli.typed import build_app
from arcfusion.core import store
from arcfusion.core.blocks import component_names
from arcfusion.core.composer import UnknownStrategyError
from arcfusion.core.errors import HomeNotFoundError
from arcfusion.core.home import new_home
from arcfusion.core.library.catalog import UnknownTargetError
from arcfusion.core.library.record import UnknownComponentError


def command(*arguments):
    return CliRunner().invoke(build_app(ROOT, arguments), list(arguments))


def data_of(*arguments):
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)["data"]


@pytest.fixture
def outside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARCFUSION_HOME", raising=False)
    return tmp_path


@pytest.fixture
def lab(outside):
    store.create(new_home(outside))
    return outside


def test_components_are_listed_and_shown_with_what_they_go_with():
    assert [c["name"] for c in data_of("component", "list")["components"]] == component_names()
    shown = data_of("component", "show", "mamba1")
    assert (shown["category"], shown["year"]) == ("mixer", 2023)
    assert {r["component"] for r in shown["relations"]} == set(component_names()) - {"mamba1"}
    text = command("component", "show", "mamba1").stdout
    assert "d_state=16" in text
    assert "Jamba" in text
    refused = command("component", "show", "mamba9")
    assert isinstance(refused.exception, UnknownComponentError)
    assert refused.exception.exit_code == 2


def test_architectures_are_listed_and_shown_without_a_lab(outside):
    listed = data_of("architecture", "list")["architectures"]
    assert {"mqa", "Jamba"} <= {entry["name"] for entry in listed}
    assert "7 x mamba1" not in command("architecture", "list").stdout
    assert "4 x mamba1, gqa, 3 x mamba1" in command("architecture", "list").stdout
    shown = data_of("architecture", "show", "mqa")
    assert shown["parameters"] > 0
    assert shown["spec"]["layers"][0]["mixer"]["kind"] == "mqa"
    assert "layers:" in command("architecture", "show", "mqa").stdout
    refused = command("architecture", "show", "nothing")
    assert isinstance(refused.exception, UnknownTargetError)


def test_a_saved_dream_is_listed_and_is_not_dreamed_again(lab):
    small = ("--d-model", "16", "--max-layers", "1")
    first = data_of("dream", "random", "--seed", "3", "--save", *small)["dreams"][0]
    assert first["recipe_id"].startswith("recipe-")
    listed = data_of("architecture", "list")["architectures"]
    assert listed[-1]["name"] == first["name"]
    assert listed[-1]["source"] == "dream: random"
    second = data_of("dream", "random", "--seed", "3", *small)["dreams"][0]
    assert second["fingerprint"] != first["fingerprint"]
    assert second["dropped"][0] == {
        "name": first["name"],
        "reason": "its model was built before",
    }
    assert second["recipe_id"] is None
    child = data_of("dream", "mutate", "--parent", first["name"], *small)["dreams"][0]
    assert child["parents"] == [first["name"]]
    assert child["changes"]


def test_a_dream_in_words_gives_name_score_identity_and_reason(outside):
    text = command("dream", "greedy", "--d-model", "16", "--max-layers", "2").stdout
    assert text.startswith("greedy-")
    assert "score 0." in text
    assert "  fp" in text
    assert "Built layer by layer" in text


def test_a_dream_that_can_not_be_had_is_refused(outside):
    unknown = command("dream", "genetic")
    assert isinstance(unknown.exception, UnknownStrategyError)
    assert unknown.exception.exit_code == 2
    assert isinstance(command("dream", "random", "--save").exception, HomeNotFoundError)
    few = command("dream", "mutate", "--parent", "mqa", "-n", "0")
    assert "at least 1" in str(few.exception)


def test_generated_code_is_printed_or_written(outside):
    printed = command("generate", "mqa", "--layers", "1", "--d-model", "16").stdout
    assert "def build(" in printed
    result = command("generate", "mqa", "--layers", "1", "--d-model", "16", "-o", "model.py")
    assert result.exit_code == 0
    assert (outside / "model.py").read_text() == printed
    refused = command("generate", "mqa", "-o", "no/such/model.py")
    assert isinstance(refused.exception, generate.OutputFileError)
    assert refused.exception.exit_code == 2
