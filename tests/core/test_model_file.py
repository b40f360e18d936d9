"""This fails when a model file is called with other sizes than it says, or is run too early."""

from pathlib import Path

import pytest

from arcfusion.core.model_file import ModelFileError, Sizes, check_model_source, read_sizes


@pytest.mark.parametrize(
    ("signature", "sizes"),
    [
        ("vocab_size, d_model, n_layers", Sizes(256, 64, 4)),
        ("vocab_size: int = 100, d_model: int = 32, n_layers: int = 2", Sizes(100, 32, 2)),
        ("vocab_size, d_model, n_layers=6", Sizes(256, 64, 6)),
        ("vocab_size, *, n_layers=3, d_model", Sizes(256, 64, 3)),
        ("vocab_size, d_model=WIDTH, n_layers=True", Sizes(256, 64, 4)),
        ("vocab_size, d_model, n_layers, extra=9", Sizes(256, 64, 4)),
    ],
)
def test_the_sizes_are_the_literal_defaults_or_the_usual_ones(signature: str, sizes: Sizes) -> None:
    assert read_sizes(f"def build({signature}):\n    return None\n") == sizes


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def build(:\n", "line 1"),
        ("x = 1\n", "no function `build`"),
        ("def build(vocab_size, d_model):\n    pass\n", "n_layers"),
        ("def build(vocab_size, d_model, n_layers, /):\n    pass\n", "build"),
    ],
)
def test_what_is_no_model_file_is_refused_with_the_reason(source: str, words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        check_model_source(source, name="m.py")


def test_reading_the_sizes_runs_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "fired"
    source = (
        f"open({str(trap)!r}, 'w')\ndef build(vocab_size, d_model, n_layers):\n    return None\n"
    )
    check_model_source(source, name="m.py")
    assert read_sizes(source) == Sizes()
    assert not trap.exists()
