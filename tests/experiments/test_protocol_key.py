import dataclasses

import pytest

from arcfusion.core.errors import BadInputError
from arcfusion.core.training.config import TrainingConfig
from arcfusion.experiments.protocol import (
    PROTOCOLS,
    Protocol,
    ProtocolError,
    detect_device_class,
)

SHA = "ab" * 32


@pytest.fixture
def smoke():
    return Protocol.load("smoke").resolve(SHA)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_preset_loads_and_is_named_like_its_file(name):
    protocol = Protocol.load(name)
    assert protocol.name == name
    assert f"{protocol.training.steps} steps" in protocol.describe()


def test_smoke_is_the_small_budget_on_one_thread(smoke):
    training = smoke.training
    assert (training.context, training.batch_size, training.threads) == (64, 8, 1)
    assert training.steps * training.tokens_per_step < 200_000


def test_a_protocol_has_no_key_before_its_data_is_known():
    with pytest.raises(ProtocolError, match="no key"):
        Protocol.load("smoke").key()


def test_the_name_is_not_part_of_the_key(smoke):
    assert smoke.model_copy(update={"name": "other"}).key() == smoke.key()


def _field_changes():
    other = {
        "data": "stdlib",
        "data_sha256": "cd" * 32,
        "vocab_size": 512,
        "n_tracks": 8,
        "validation_fraction": 0.2,
        "device_class": "cuda:H100",
        "harness_version": "older",
    }
    fixed = {"name", "training", "tokenizer", "order", "evaluation"}
    assert set(other) | fixed == set(Protocol.model_fields), "a new field needs a line here"
    return other.items()


@pytest.mark.parametrize(("field", "value"), _field_changes())
def test_every_other_field_is_part_of_the_key(smoke, field, value):
    changed = Protocol.model_validate(smoke.model_dump() | {field: value})
    assert changed.key() != smoke.key()


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(TrainingConfig)])
def test_every_training_setting_is_part_of_the_key(smoke, field):
    value = getattr(smoke.training, field)
    changes = {field: "bf16" if field == "precision" else value / 2 if value < 1 else value * 2}
    if isinstance(value, int):
        changes = {field: value * 2 or 10}
    training = dataclasses.replace(smoke.training, **changes)
    assert smoke.model_copy(update={"training": training}).key() != smoke.key()


def test_the_key_is_stable_across_a_round_trip(smoke):
    assert Protocol.from_yaml(smoke.to_yaml()) == smoke
    assert Protocol.from_yaml(smoke.to_yaml()).key() == smoke.key()


def test_a_bound_protocol_refuses_other_data(smoke):
    assert smoke.resolve(SHA) == smoke
    with pytest.raises(ProtocolError, match="drop data_sha256"):
        smoke.resolve("cd" * 32)


def test_a_protocol_of_another_harness_is_not_run(smoke):
    old = smoke.model_copy(update={"harness_version": "0"})
    with pytest.raises(ProtocolError, match="drop harness_version"):
        old.resolve(SHA)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(BadInputError, match=r"'smokey'.*smoke, standard"):
        Protocol.load("smokey")


def _smoke_text(**replacements):
    text = PROTOCOLS["smoke"].read_text()
    for old, new in replacements.values():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_tracks: 16", "n_tracks: [", "line 8"),
        ("n_tracks: 16", "n_tracks: 0", "line 6: n_tracks"),
        ("n_tracks: 16", "n_track: 16", r"line \d+: n_track.*allowed are name, data"),
        ("  steps: 80", "  steps: 0", "line 10: training: steps"),
        ("  steps: 80", "  steps: many", "line 10: training.steps"),
        ("  steps: 80", "  step: 80", "line 10: training.step:.*allowed are steps"),
        ("tokenizer: bytes", "tokenizer: bpe", "line 4: tokenizer"),
    ],
)
def test_a_fault_in_a_file_names_its_line(tmp_path, old, new, message):
    path = tmp_path / "mine.yaml"
    path.write_text(_smoke_text(change=(old, new)))
    with pytest.raises(ProtocolError, match=message):
        Protocol.load(str(path))


def test_a_file_that_is_not_a_mapping_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("- smoke\n")
    with pytest.raises(ProtocolError, match="mapping"):
        Protocol.load(str(path))


def test_the_device_class_names_the_model_of_the_processor():
    kind, _, model = detect_device_class().partition(":")
    assert kind == "cpu"
    assert model
