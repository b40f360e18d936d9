"""Names that are made, not given: short base-36 digests of what they name."""

import json
from collections.abc import Callable
from itertools import count

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def digest(value: object) -> str:
    """Return the SHA-256 (hex) of the value's canonical JSON: sorted keys, no spaces, no NaN."""
    import hashlib  # OpenSSL: most commands make no id

    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short_id(prefix: str, value: object, *, length: int = 8) -> str:
    """Return `prefix-` and `length` base-36 letters of the value's digest."""
    number = int(digest(value), 16)
    letters = []
    for _ in range(length):
        number, rest = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[rest])
    return f"{prefix}-{''.join(letters)}"


def unused_id(prefix: str, value: object, is_taken: Callable[[str], bool]) -> str:
    """Return the shortest id of 3 to 12 letters, over 30 nonces a length, that is not taken.

    Of the longest ones there are as many nonces as it takes: the same may be filed thousands of
    times in one moment.
    """
    for length in range(3, 12):
        for nonce in range(30):
            candidate = short_id(prefix, [value, nonce], length=length)
            if not is_taken(candidate):
                return candidate
    return next(
        candidate
        for nonce in count()
        if not is_taken(candidate := short_id(prefix, [value, nonce], length=12))
    )
