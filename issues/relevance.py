"""Which texts are about a query: BM25 over word stems, without an index.

The texts are joined to one, in which each stem is searched by the runtime's own search: ten
thousand texts take about 20 ms. Words that very many texts have would cost most and say least:
they count only among the best.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), for BM25.
"""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from heapq import nlargest
from itertools import accumulate, islice
from math import log

# Key, text, and the time at which it was written: of equals the newest comes first.
Passage = tuple[str, str, float]

MAX_WORDS = 16
MAX_HITS = 500
_REFINED = 100
_SATURATION = 1.2
_LENGTH_SHARE = 0.5

_WORD = re.compile(r"[^\W_]+")
_STOPWORDS = frozenset(
    _WORD.findall(
        """a about after all also am an and any are as at be because been before being but by can
        could did do does doing done for from had has have having how i if in into is it its let may
        me might more most must my no nor not of off on one only or our out over own s same shall
        she should so some such t than that the their them then there these they this those to too
        under until up us use used uses using very was we were what when where which while who why
        will with would you your"""
    )
)
_LEAST_STEM = 3
# The shortest beginning with an ending: of "normalisation" not "normalisat" but "normal".
_ENDED = re.compile(
    "(.{3,}?)(?:i[sz]ation|i[sz]ing|i[sz]ed|i[sz]e|ation|ating|ated|ator|ate|ing|edly|ed|ion|ment"
    "|ness|er|or|ally|ly|al|y|e)"
)


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return the beginning of the word that its English forms share, of at least three letters."""
    if len(word) <= _LEAST_STEM or not word.isalpha():
        return word
    if word.endswith("ies"):
        return word[: max(_LEAST_STEM, len(word) - 3)]
    if word[-1] == "s" and word[-2] not in "sui":
        word = word[:-1]
    ended = _ENDED.fullmatch(word)
    if ended is not None:
        word = ended[1]
    return word[:-1] if len(word) > _LEAST_STEM and word[-1] == word[-2] else word


def words(text: str) -> Iterator[str]:
    """Yield the stems of the text's words, without the words that say nothing."""
    for word in _WORD.findall(text.casefold()):
        if word not in _STOPWORDS:
            yield stem(word)


def same_words(first: str, second: str) -> bool:
    """Return whether two texts say the same: nine of ten of their stems are common."""
    ours, theirs = set(words(first)), set(words(second))
    return len(ours & theirs) >= 0.9 * len(ours | theirs)


def rank(passages: Sequence[Passage], query: str, limit: int) -> list[str]:
    """Return the keys of the passages that hold words of the query, the best match first.

    A query without words gives the newest passages.
    """
    stems = list(dict.fromkeys(words(query)))[:MAX_WORDS]
    scores = (
        _score(passages, stems, max(limit, _REFINED))
        if stems
        else dict.fromkeys(range(len(passages)), 0.0)
    )
    ordered = sorted(
        scores, key=lambda place: (-scores[place], -passages[place][2], passages[place][0])
    )
    return [passages[place][0] for place in ordered[:limit]]


def _score(passages: Sequence[Passage], stems: Sequence[str], limit: int) -> dict[int, float]:
    """Return the score of the best `limit` passages by their place."""
    parts = [f"{key} {text}\n" for key, text, _ in passages]
    joined = "".join(parts)
    whole = joined.casefold()
    if len(whole) != len(joined):  # a letter became two: each part has its own new length
        parts = [part.casefold() for part in parts]
    ends = list(accumulate(map(len, parts)))
    average = len(whole) / max(1, len(parts))
    hits = {name: list(islice(_find(whole, name), MAX_HITS)) for name in stems}
    found = {name: Counter(bisect_right(ends, at) for at in hits[name]) for name in stems}
    weights = {
        name: _weight(len(parts), _estimate(len(found[name]), hits[name], len(whole)))
        for name in stems
    }
    scores: dict[int, float] = defaultdict(float)
    left = []
    for name in sorted(stems, key=lambda name: len(hits[name])):
        if len(hits[name]) == MAX_HITS and len(scores) >= limit:
            left.append(name)
            continue
        for place, number in found[name].items():
            scores[place] += weights[name] * _saturate(number, len(parts[place]) / average)
    best = nlargest(limit, scores, key=lambda place: (scores[place], passages[place][2]))
    refined = {place: scores[place] for place in best}
    for place in refined if left else ():
        held: Mapping[str, int] = Counter(words(parts[place]))
        for name in left:
            refined[place] += weights[name] * _saturate(held[name], len(parts[place]) / average)
    return refined


def _estimate(having: int, hits: Sequence[int], length: int) -> float:
    """Return how many parts hold the word; where the search ended early, as many in the rest."""
    return having if len(hits) < MAX_HITS else having * length / max(1, hits[-1])


def _find(whole: str, name: str) -> Iterator[int]:
    """Yield where a word of this stem begins."""
    at = whole.find(name)
    while at >= 0:
        if at == 0 or not whole[at - 1].isalnum():
            word = _WORD.match(whole, at)
            if word is not None and stem(word[0]) == name:
                yield at
        at = whole.find(name, at + len(name))


def _weight(number: int, having: float) -> float:
    """Return what a word counts that so many of the parts have; more than 0."""
    having = min(having, number)
    return log(1 + (number - having + 0.5) / (having + 0.5))


def _saturate(hits: int, length: float) -> float:
    """Return what so many hits count in a text of `length` times the average."""
    share = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length)
    return hits * (_SATURATION + 1) / (hits + share)
