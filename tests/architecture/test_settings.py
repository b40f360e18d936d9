"""This fails when a setting is not documented, not honoured, or accepts what it should not."""

import re
from pathlib import Path

import pytest

from arcfusion.core.errors import BadInputError
from arcfusion.core.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_file_lists_exactly_the_settings_that_exist() -> None:
    text = (ROOT / ".env.example").read_text()
    listed = set(re.findall(r"^#? ?(ARCFUSION_[A-Z_]+)=", text, re.MULTILINE))
    assert listed == {f"ARCFUSION_{name.upper()}" for name in Settings.model_fields}


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings().parallel_runs == 2
    (tmp_path / ".env").write_text("ARCFUSION_PARALLEL_RUNS=3\n")
    assert load_settings().parallel_runs == 3
    monkeypatch.setenv("ARCFUSION_PARALLEL_RUNS", "4")
    assert load_settings().parallel_runs == 4


@pytest.mark.parametrize(
    ("name", "value"), [("PARALLEL_RUNS", "0"), ("PARALLEL_RUNS", "x"), ("SANDBOX", "off")]
)
def test_a_value_that_is_not_allowed_names_its_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ARCFUSION_{name}", value)
    with pytest.raises(BadInputError, match=f"ARCFUSION_{name} is '{value}'"):
        load_settings()
