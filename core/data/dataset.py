"""A text made ready for training: tokens on disk, memory-mapped, and the batches cut from them.

A prepared directory holds `train.bin` and `validation.bin` (uint16, little-endian, [K tracks,
tokens of a track]) and `meta.json`. A file is opened when it is first used, so a process that may
read only the training tokens can open the directory too. Shapes: B rows, T context, N windows, K
tracks.
"""

import errno
import functools
import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arcfusion.core.data.corpus import Corpus
from arcfusion.core.data.order import build_order
from arcfusion.core.data.tokenizer import ByteTokenizer
from arcfusion.core.data.tracks import require_length, split_tracks
from arcfusion.core.errors import BadInputError

TRAIN_FILE = "train.bin"
VALIDATION_FILE = "validation.bin"
META_FILE = "meta.json"
_DTYPE = np.dtype("<u2")
_FORMAT = 1


class PreparedDataError(BadInputError):
    """The directory does not hold prepared data, or what it holds is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What `meta.json` says.

    Attributes:
        corpus: name of the text.
        corpus_sha256: SHA-256 of the text's bytes; the identity of the data in a protocol.
        licence: licence of the text.
        tokenizer: identity of the tokenizer.
        vocab_size: ids are in [0, vocab_size).
        n_tracks: K.
        validation_fraction: part of each track that is for validation.
        train_length: training tokens of a track.
        validation_length: validation tokens of a track.
        n_dropped: tokens at the end of the text that did not fill a track.
        train_bytes: bytes of text that the training tokens stand for.
        validation_bytes: bytes of text that the predicted validation tokens stand for: all but the
            first token of each track, which has no context.
        train_sha256: SHA-256 of `train.bin`.
        validation_sha256: SHA-256 of `validation.bin`.
        format: version of this layout.
    """

    corpus: str
    corpus_sha256: str
    licence: str
    tokenizer: str
    vocab_size: int
    n_tracks: int
    validation_fraction: float
    train_length: int
    validation_length: int
    n_dropped: int
    train_bytes: int
    validation_bytes: int
    train_sha256: str
    validation_sha256: str
    format: int = _FORMAT


@dataclass(frozen=True)
class Prepared:
    """A prepared directory; the token files are mapped when they are first used."""

    directory: Path
    facts: DataFacts

    @functools.cached_property
    def train(self) -> NDArray[np.uint16]:
        """Training tokens, [K, train_length], read-only."""
        return _map(self.directory / TRAIN_FILE, self.facts.n_tracks, self.facts.train_length)

    @functools.cached_property
    def validation(self) -> NDArray[np.uint16]:
        """Validation tokens, [K, validation_length], read-only."""
        path = self.directory / VALIDATION_FILE
        return _map(path, self.facts.n_tracks, self.facts.validation_length)

    def verify(self, part: Literal["train", "validation"]) -> None:
        """Compare a token file with the checksum in `meta.json`.

        Raises:
            PreparedDataError: they differ, or the file can not be read.
        """
        is_train = part == "train"
        path = self.directory / (TRAIN_FILE if is_train else VALIDATION_FILE)
        expected = self.facts.train_sha256 if is_train else self.facts.validation_sha256
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise PreparedDataError(f"can not read {str(path)!r}: {error.strerror}") from error
        if found != expected:
            raise PreparedDataError(
                f"{str(path)!r} is damaged: its SHA-256 is {found[:12]}..., {META_FILE} says"
                f" {expected[:12]}...; delete the directory and prepare the text again"
            )


class ValidationWindows(NamedTuple):
    """The whole validation split as windows.

    Attributes:
        inputs: [N, T], inputs, int64; a shorter last window of a track is filled with 0 at its end.
        targets: [N, T], int64; 0 where nothing is predicted.
        mask: [N, T], whether the target counts. Every validation token but the first of each track
            is predicted exactly once.
        n_bytes: bytes of text that the counted targets stand for.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    mask: NDArray[np.bool_]
    n_bytes: int


def prepare(
    corpus: Corpus,
    tokenizer: ByteTokenizer,
    *,
    n_tracks: int,
    directory: Path,
    validation_fraction: float = 0.1,
    context: int = 1,
) -> Prepared:
    """Tokenise the text once into `directory`; a directory that holds just this is opened as it is.

    The directory appears complete or not at all. A directory with other or damaged content is
    replaced.

    Args:
        corpus: the text.
        tokenizer: makes its tokens.
        n_tracks: tracks to cut it into.
        directory: where it goes; its parent is made.
        validation_fraction: part of each track for validation.
        context: the window that a track must be long enough for.

    Raises:
        TextTooShortError: before anything is written.
    """
    tokens = tokenizer.encode(corpus.data)
    require_length(tokens.size, n_tracks, context=context, validation_fraction=validation_fraction)
    split = split_tracks(tokens, n_tracks, validation_fraction)
    train = np.ascontiguousarray(split.train, dtype=_DTYPE)
    validation = np.ascontiguousarray(split.validation, dtype=_DTYPE)
    facts = DataFacts(
        corpus=corpus.name,
        corpus_sha256=corpus.sha256,
        licence=corpus.licence,
        tokenizer=tokenizer.identity,
        vocab_size=tokenizer.vocab_size,
        n_tracks=n_tracks,
        validation_fraction=validation_fraction,
        train_length=train.shape[1],
        validation_length=validation.shape[1],
        n_dropped=split.n_dropped,
        train_bytes=tokenizer.count_bytes(train),
        validation_bytes=tokenizer.count_bytes(validation[:, 1:]),
        train_sha256=hashlib.sha256(train.data).hexdigest(),
        validation_sha256=hashlib.sha256(validation.data).hexdigest(),
    )
    existing = _open_matching(directory, facts)
    if existing is not None:
        return existing
    _publish(directory, facts, train, validation)
    return open_prepared(directory)


def open_prepared(directory: Path) -> Prepared:
    """Open a prepared directory.

    Raises:
        PreparedDataError: `meta.json` is missing, damaged or of another format.
    """
    path = directory / META_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PreparedDataError(f"no prepared data in {str(directory)!r}") from error
    except (OSError, ValueError) as error:
        raise PreparedDataError(f"can not read {str(path)!r}: {error}") from error
    names = {field.name for field in fields(DataFacts)}
    if not isinstance(values, dict) or set(values) != names or values["format"] != _FORMAT:
        raise PreparedDataError(
            f"{str(path)!r} does not describe prepared data of format {_FORMAT}; delete the"
            " directory and prepare the text again"
        )
    return Prepared(directory, DataFacts(**values))


def train_batch(
    prepared: Prepared, step: int, *, batch_size: int, context: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return inputs and targets of a step, (x_BT, y_BT): a pure function of its arguments.

    `order` says which windows they are.

    Raises:
        TextTooShortError: the training text has fewer windows than rows.
    """
    order = build_order(
        n_tracks=prepared.facts.n_tracks,
        track_length=prepared.facts.train_length,
        batch_size=batch_size,
        context=context,
        seed=seed,
    )
    positions = order.starts(step)[:, None] + np.arange(context + 1)
    window_BT1 = prepared.train.reshape(-1)[positions].astype(np.int64)
    return window_BT1[:, :-1], window_BT1[:, 1:]


def validation_windows(prepared: Prepared, context: int) -> ValidationWindows:
    """Return the whole validation split as windows of `context` tokens that do not overlap."""
    tokens_KL = prepared.validation.astype(np.int64)
    n_tracks, length = tokens_KL.shape
    n_predicted = length - 1
    windows_per_track = -(-n_predicted // context)
    shape = (n_tracks, windows_per_track * context)
    x, y, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    x[:, :n_predicted] = tokens_KL[:, :-1]
    y[:, :n_predicted] = tokens_KL[:, 1:]
    mask[:, :n_predicted] = True
    flat = (n_tracks * windows_per_track, context)
    return ValidationWindows(
        x.reshape(flat), y.reshape(flat), mask.reshape(flat), prepared.facts.validation_bytes
    )


def _map(path: Path, n_tracks: int, length: int) -> NDArray[np.uint16]:
    try:
        size_bytes = path.stat().st_size
        if size_bytes != n_tracks * length * _DTYPE.itemsize:
            raise PreparedDataError(
                f"{str(path)!r} is damaged: it has {size_bytes} bytes, {META_FILE} says"
                f" {n_tracks * length * _DTYPE.itemsize}"
            )
        mapped = np.memmap(path, dtype=_DTYPE, mode="r", shape=(n_tracks, length))
    except OSError as error:
        raise PreparedDataError(f"can not read {str(path)!r}: {error.strerror}") from error
    # The plain view: indexing np.memmap itself costs several times as much.
    return mapped.view(np.ndarray)


def _open_matching(directory: Path, facts: DataFacts) -> Prepared | None:
    try:
        prepared = open_prepared(directory)
        if prepared.facts != facts:
            return None
        prepared.verify("train")
        prepared.verify("validation")
    except PreparedDataError:
        return None
    return prepared


def _publish(
    directory: Path,
    facts: DataFacts,
    train: NDArray[np.uint16],
    validation: NDArray[np.uint16],
) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as name:
        temporary = Path(name)
        fresh = temporary / "fresh"
        fresh.mkdir()
        _write(fresh / TRAIN_FILE, train.data.cast("B"))
        _write(fresh / VALIDATION_FILE, validation.data.cast("B"))
        _write(fresh / META_FILE, json.dumps(asdict(facts), indent=2).encode() + b"\n")
        if directory.exists():
            directory.rename(temporary / "replaced")
        try:
            fresh.rename(directory)
        except OSError as error:
            # Another process has published the same text in between: its directory stays.
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise


def _write(path: Path, data: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
