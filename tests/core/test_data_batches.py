import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcfusion.core.data.corpus import Corpus
from arcfusion.core.data.dataset import (
    PreparedDataError,
    open_prepared,
    prepare,
    train_batch,
    validation_windows,
)
from arcfusion.core.data.order import build_order
from arcfusion.core.data.tokenizer import ByteTokenizer
from arcfusion.core.data.tracks import TextTooShortError, require_length, split_tracks


def make_corpus(n_bytes, name="made"):
    # Bytes that count up with a period of 251 tell positions apart.
    data = bytes(i % 251 for i in range(n_bytes))
    return Corpus(name, data, f"sha-of-{n_bytes}", "CC0-1.0", "made for a test")


def prepared_of(tmp_path, n_bytes=4_000, n_tracks=4):
    directory = tmp_path / "prepared"
    return prepare(make_corpus(n_bytes), ByteTokenizer(), n_tracks=n_tracks, directory=directory)


def test_bytes_survive_the_tokenizer():
    text = "na\u00efve \u2192 text\n"
    tokens = ByteTokenizer().encode(text.encode())
    assert tokens.max() < ByteTokenizer().vocab_size
    assert ByteTokenizer().decode(tokens) == text
    assert ByteTokenizer().count_bytes(tokens) == len(text.encode())


def test_the_last_tenth_of_every_track_is_for_validation_and_nothing_is_in_both():
    positions = np.arange(1_003, dtype=np.uint16)
    split = split_tracks(positions, 10)
    assert split.train.shape == (10, 90)
    assert split.validation.shape == (10, 10)
    assert split.n_dropped == 3
    assert set(split.train.flat).isdisjoint(split.validation.flat)
    assert set(split.train.flat) | set(split.validation.flat) == set(range(1_000))
    assert (split.validation[:, 0] == split.train[:, -1] + 1).all()


def test_a_text_shorter_than_one_window_is_refused_with_what_is_needed():
    with pytest.raises(TextTooShortError) as info:
        require_length(500, 4, context=128)
    needed = int(str(info.value).split("at least ")[1].split(";")[0])
    require_length(needed, 4, context=128)
    with pytest.raises(TextTooShortError):
        require_length(needed - 4, 4, context=128)


def test_preparing_a_text_that_is_too_short_writes_nothing(tmp_path):
    with pytest.raises(TextTooShortError):
        prepare(
            make_corpus(300), ByteTokenizer(), n_tracks=2, directory=tmp_path / "p", context=256
        )
    assert list(tmp_path.iterdir()) == []


def test_a_prepared_directory_opens_to_the_same_tokens(tmp_path):
    written = prepared_of(tmp_path)
    opened = open_prepared(written.directory)
    assert opened.facts == written.facts
    assert opened.facts.corpus_sha256 == "sha-of-4000"
    text = np.concatenate([opened.train, opened.validation], axis=1).astype(np.uint8).tobytes()
    assert text == make_corpus(4_000).data
    opened.verify("train")
    opened.verify("validation")
    assert list(tmp_path.iterdir()) == [written.directory]


def test_preparing_again_keeps_the_files_and_another_text_replaces_them(tmp_path):
    first = prepared_of(tmp_path)
    inode = (first.directory / "train.bin").stat().st_ino
    prepared_of(tmp_path)
    assert (first.directory / "train.bin").stat().st_ino == inode
    assert prepared_of(tmp_path, n_bytes=5_000).facts.corpus_sha256 == "sha-of-5000"
    assert list(tmp_path.iterdir()) == [first.directory]


def test_damaged_tokens_are_found_and_prepared_again(tmp_path):
    prepared = prepared_of(tmp_path)
    path = prepared.directory / "train.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(PreparedDataError, match="damaged"):
        open_prepared(prepared.directory).verify("train")
    prepared_of(tmp_path).verify("train")
    path.write_bytes(data[:-2])
    with pytest.raises(PreparedDataError, match="damaged"):
        train_batch(open_prepared(prepared.directory), 0, batch_size=1, context=4, seed=0)


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"format": 1}'])
def test_a_directory_without_a_whole_meta_file_is_refused(tmp_path, content):
    (tmp_path / "meta.json").write_text(content)
    with pytest.raises(PreparedDataError):
        open_prepared(tmp_path)


def test_another_format_is_refused(tmp_path):
    path = prepared_of(tmp_path).directory / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(PreparedDataError, match="format 1"):
        open_prepared(path.parent)


def test_training_batches_need_the_training_file_alone(tmp_path):
    prepared = prepared_of(tmp_path)
    (prepared.directory / "validation.bin").unlink()
    opened = open_prepared(prepared.directory)
    train_batch(opened, 0, batch_size=2, context=8, seed=0)
    with pytest.raises(PreparedDataError):
        validation_windows(opened, 8)


def test_a_batch_is_a_pure_function_of_its_step_and_targets_are_the_next_tokens(tmp_path):
    prepared = prepared_of(tmp_path)
    batches = [train_batch(prepared, s, batch_size=4, context=16, seed=3) for s in (7, 2, 7)]
    (x, y), _, (x_again, y_again) = batches
    assert x.dtype == y.dtype == np.int64
    assert x.shape == y.shape == (4, 16)
    assert (x == x_again).all()
    assert (y == y_again).all()
    assert (x[:, 1:] == y[:, :-1]).all()
    assert ((y - x) % 251 == 1).all()


def test_a_row_continues_its_track_from_step_to_step(tmp_path):
    prepared = prepared_of(tmp_path)
    context = 16
    order = build_order(n_tracks=4, track_length=900, batch_size=4, context=context, seed=3)
    steps = np.stack([order.starts(step) for step in range(order.n_windows // 4)])
    moves = np.diff(steps, axis=0)
    assert (moves == context).mean() > 0.95
    x0, y0 = train_batch(prepared, 0, batch_size=4, context=context, seed=3)
    x1, _ = train_batch(prepared, 1, batch_size=4, context=context, seed=3)
    continued = moves[0] == context
    assert (x1[continued, 0] == y0[continued, -1]).all()
    assert x0.shape == x1.shape


@settings(max_examples=60, deadline=None)
@given(
    n_tracks=st.integers(1, 7),
    track_length=st.integers(20, 200),
    batch_size=st.integers(1, 9),
    context=st.integers(1, 18),
    seed=st.integers(0, 10),
)
def test_windows_stay_in_their_track_and_an_epoch_sees_each_once(
    n_tracks, track_length, batch_size, context, seed
):
    if n_tracks * ((track_length - context) // context) < batch_size:
        return
    order = build_order(
        n_tracks=n_tracks,
        track_length=track_length,
        batch_size=batch_size,
        context=context,
        seed=seed,
    )
    assert len(set(order.window_starts)) == order.n_windows
    assert (
        order.window_starts // track_length == (order.window_starts + context) // track_length
    ).all()
    assert (order.window_starts + context < n_tracks * track_length).all()
    n_steps = -(-order.n_windows // batch_size)
    seen = np.concatenate([order.starts(step) for step in range(n_steps)])
    assert set(seen) == set(order.window_starts)
    assert (order.starts(order.n_windows) == order.starts(0)).all()


def test_seeds_see_the_text_in_different_orders():
    shape = {"n_tracks": 4, "track_length": 900, "batch_size": 4, "context": 16}
    starts = {tuple(build_order(**shape, seed=seed).starts(0)) for seed in range(20)}
    assert len(starts) == 20


def test_a_batch_with_more_rows_than_windows_is_refused():
    with pytest.raises(TextTooShortError, match="smaller batch"):
        build_order(n_tracks=1, track_length=40, batch_size=16, context=16, seed=0)
    with pytest.raises(TextTooShortError, match="needs 17"):
        build_order(n_tracks=1, track_length=16, batch_size=1, context=16, seed=0)


@pytest.mark.parametrize("context", [1, 7, 33, 99, 100, 500])
def test_every_validation_token_but_the_first_of_each_track_is_predicted_once(tmp_path, context):
    prepared = prepared_of(tmp_path)
    windows = validation_windows(prepared, context)
    assert windows.inputs.shape == windows.targets.shape == windows.mask.shape
    assert windows.inputs.shape[1] == context
    assert windows.mask.sum() == 4 * (100 - 1) == windows.n_bytes
    targets = windows.targets[windows.mask].reshape(4, 99)
    inputs = windows.inputs[windows.mask].reshape(4, 99)
    assert (targets == prepared.validation[:, 1:]).all()
    assert (inputs == prepared.validation[:, :-1]).all()
    assert (windows.targets[~windows.mask] == 0).all()
    # A filled part is at the end of a window, where no causal model sees it before a real token.
    assert (np.diff(windows.mask.astype(int), axis=1) <= 0).all()
