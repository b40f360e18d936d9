"""Cutting a text into tracks, and each track into a training part and a validation part.

A track is a contiguous part of the text. Its last tenth is for validation, so that both parts come
from all over the text and no token is in both. Shapes: K tracks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcfusion.core.errors import BadInputError

# A track's validation part predicts at least one token from at least one other.
_MIN_VALIDATION_TOKENS = 2


class TextTooShortError(BadInputError):
    """The text is shorter than one window."""


@dataclass(frozen=True, slots=True)
class Split:
    """The two parts of every track.

    Attributes:
        train: [K, train tokens of a track].
        validation: [K, validation tokens of a track]; row k follows row k of `train` in the text.
        n_dropped: tokens at the end of the text that did not fill a track, fewer than K.
    """

    train: NDArray[np.uint16]
    validation: NDArray[np.uint16]
    n_dropped: int


def split_tracks(
    tokens: NDArray[np.uint16], n_tracks: int, validation_fraction: float = 0.1
) -> Split:
    """Return the text as `n_tracks` equal tracks, the last part of each for validation.

    Raises:
        TextTooShortError: a part would hold fewer than two tokens.
    """
    require_length(tokens.size, n_tracks, context=1, validation_fraction=validation_fraction)
    train_length, validation_length = _part_lengths(tokens.size // n_tracks, validation_fraction)
    track_length = train_length + validation_length
    tracks = tokens[: n_tracks * track_length].reshape(n_tracks, track_length)
    split = Split(
        train=tracks[:, :train_length],
        validation=tracks[:, train_length:],
        n_dropped=tokens.size - tracks.size,
    )
    _assert_disjoint(split, tokens.size)
    return split


def require_length(
    n_tokens: int, n_tracks: int, *, context: int, validation_fraction: float = 0.1
) -> None:
    """Check that every track holds one training window of `context` tokens and its target.

    Raises:
        TextTooShortError: it does not; the message says how many tokens would be enough.
        BadInputError: the number of tracks or the fraction is out of range.
    """
    if n_tracks < 1:
        raise BadInputError(f"n_tracks is {n_tracks!r}: it must be >= 1")
    if not 0 < validation_fraction < 1:
        raise BadInputError(
            f"validation_fraction is {validation_fraction!r}: it must be between 0 and 1"
        )
    if _is_long_enough(n_tokens // n_tracks, context, validation_fraction):
        return
    track_length = context + 1
    while not _is_long_enough(track_length, context, validation_fraction):
        track_length += 1
    raise TextTooShortError(
        f"the text has {n_tokens} tokens: {n_tracks} tracks with a window of {context} tokens need"
        f" at least {track_length * n_tracks}; give a longer text, fewer tracks or a shorter"
        " context"
    )


def _part_lengths(track_length: int, validation_fraction: float) -> tuple[int, int]:
    validation_length = int(track_length * validation_fraction)
    return track_length - validation_length, validation_length


def _is_long_enough(track_length: int, context: int, validation_fraction: float) -> bool:
    train_length, validation_length = _part_lengths(track_length, validation_fraction)
    return train_length > context and validation_length >= _MIN_VALIDATION_TOKENS


def _assert_disjoint(split: Split, n_tokens: int) -> None:
    """Assert that every token of the text is in one part or dropped, and none in two."""
    assert split.train.size + split.validation.size + split.n_dropped == n_tokens
    assert not np.shares_memory(split.train, split.validation)
