"""This fails when an issue can make the lab run what nobody allowed, or the wrong thing."""

import pytest

from arcfusion.agents.study import StudyError, find_names, read_study

PRESETS = ("mha", "mamba", "linear-attention", "attention-first", "attention-last")


def test_the_metadata_wins_over_the_words() -> None:
    study = read_study({"study": {"architectures": ["mha", "mamba"], "seeds": 3}}, "gqa", PRESETS)
    assert (study.kind, study.architectures, study.seeds) == ("compare", ("mha", "mamba"), 3)


def test_presets_that_the_words_name_are_compared_in_order_of_mention() -> None:
    study = read_study({}, "Does Mamba beat linear attention, and MHA?", PRESETS)
    assert study.architectures == ("mamba", "linear-attention", "mha")


def test_a_longer_name_is_not_read_as_a_shorter_one() -> None:
    assert find_names("mamba-2 against attention-first", PRESETS) == ("attention-first",)
    assert find_names("attention first", ("attention", *PRESETS)) == ("attention-first",)


def test_seeds_are_counted_from_the_workers_or_named() -> None:
    assert read_study({"study": {"kind": "dream", "seeds": 3}}, "", PRESETS).choose_seeds(7) == (
        7,
        8,
        9,
    )
    assert read_study({"study": {"kind": "dream", "seeds": [5, 2]}}, "", PRESETS).choose_seeds(
        7
    ) == (5, 2)


def test_words_without_names_ask_for_a_dream() -> None:
    assert read_study({}, "Find something better", PRESETS).kind == "dream"


@pytest.mark.parametrize(
    ("study", "field"),
    [
        ({"protocol": "../../etc/passwd"}, "protocol"),
        ({"seeds": 1}, "seeds"),
        ({"seeds": 10_000}, "seeds"),
        ({"seeds": [1]}, "seeds"),
        ({"seeds": [-1, 2]}, "seeds"),
        ({"n": 99, "kind": "dream"}, "n"),
        ({"strategies": ["rm"]}, "strategies"),
        ({"command": "rm -rf /"}, "command"),
        ({"architectures": ["mha"] * 9}, "architectures"),
        ({"architectures": ["mha"]}, "fewer than two"),
        ("mha", "study"),
    ],
)
def test_a_study_outside_the_bounds_is_refused_by_name(study: object, field: str) -> None:
    with pytest.raises(StudyError, match=field):
        read_study({"study": study}, "", PRESETS)
