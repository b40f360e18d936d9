"""Which windows of the training text are in the batch of a step: a pure function of the step.

The map. Every track of L tokens is cut, from a phase in [0, context) on, into W windows of
`context` tokens (and one more as the last target). All windows of all tracks, the tracks permuted,
lie on one ring of R = K * W places. Row b of the batch of step t is place `(b * R // B + rotation +
t) mod R`. So a row continues its track from step to step, goes on to the next track at the end of
one, and wraps around at the end of the ring; after R / B steps (an epoch) the rows together have
seen every window. Phase, permutation and rotation come from the seed by SHA-256, so they are the
same under every version of Python and numpy. Shapes: B rows, K tracks.
"""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcfusion.core.data.tracks import TextTooShortError


@dataclass(frozen=True, slots=True, eq=False)
class BatchOrder:
    """The map for one shape of data and batch and one seed.

    Attributes:
        window_starts: [R], position of each place of the ring in the flattened tracks.
        row_places: [B], place of each row at step 0.
    """

    window_starts: NDArray[np.int64]
    row_places: NDArray[np.int64]

    @property
    def n_windows(self) -> int:
        """R, the windows of an epoch."""
        return int(self.window_starts.size)

    def starts(self, step: int) -> NDArray[np.int64]:
        """Return the position in the flattened tracks at which each row of a step begins: [B]."""
        return self.window_starts[(self.row_places + step) % self.window_starts.size]


@functools.lru_cache(maxsize=16)
def build_order(
    *, n_tracks: int, track_length: int, batch_size: int, context: int, seed: int
) -> BatchOrder:
    """Return the map of windows to steps.

    Raises:
        TextTooShortError: a track is shorter than a window and its target, or there are fewer
            windows than rows.
    """
    if track_length <= context:
        raise TextTooShortError(
            f"a track has {track_length} training tokens: one window of {context} tokens needs"
            f" {context + 1}; give a longer text, fewer tracks or a shorter context"
        )
    phase = _draw(seed, "phase") % min(context, track_length - context)
    n_windows = (track_length - 1 - phase) // context
    ring_size = n_tracks * n_windows
    if ring_size < batch_size:
        raise TextTooShortError(
            f"the text has {ring_size} windows of {context} tokens: a batch needs {batch_size};"
            " give a longer text, a smaller batch or a shorter context"
        )
    tracks = sorted(range(n_tracks), key=lambda track: _draw(seed, f"track {track}"))
    offsets = phase + context * np.arange(n_windows, dtype=np.int64)
    starts = np.array(tracks, dtype=np.int64)[:, None] * track_length + offsets
    rows = np.arange(batch_size, dtype=np.int64) * ring_size // batch_size
    return BatchOrder(
        window_starts=starts.reshape(-1),
        row_places=(rows + _draw(seed, "rotation") % ring_size) % ring_size,
    )


def _draw(seed: int, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big")
