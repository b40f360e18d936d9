"""Texts cut to a budget: what an agent is shown has an upper size, in the bytes of its JSON.

JSON is counted as it is printed, in ASCII: a letter outside it takes 6 bytes, an emoji 12.
"""

from bisect import bisect_right
from json.encoder import encode_basestring_ascii


def json_size(text: str) -> int:
    """Return the bytes of the text as a JSON string, without its quotes."""
    return len(encode_basestring_ascii(text)) - 2


def cut(text: str, max_bytes: int, mark: str = "...") -> str:
    """Return the text, or its beginning and the mark, in at most `max_bytes` of JSON.

    The mark is always whole: a budget below its own size gives the mark alone.
    """
    if len(text) <= max_bytes and json_size(text) <= max_bytes:
        return text
    room = max_bytes - json_size(mark)
    lengths = range(min(len(text), max(room, 0)) + 1)
    end = bisect_right(lengths, room, key=lambda length: json_size(text[:length])) - 1
    return text[: max(end, 0)].rstrip() + mark
