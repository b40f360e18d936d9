"""This fails when recall finds a text that is not about the query, or misses one that is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcfusion.issues.relevance import rank, same_words, words

# Letters that casefolding makes longer, words with other words in them, words of no weight.
WORD = st.sampled_from(
    ["lr", "decay", "decays", "decayed", "stra\u00dfe", "STRASSE", "\ufb01t", "fit", "refit", "the"]
)
TEXT = st.lists(WORD, min_size=1, max_size=6).map(" ".join)


def passages(texts):
    return [(f"k{place}", text, float(place)) for place, text in enumerate(texts)]


@settings(deadline=None)
@given(st.lists(TEXT, max_size=12), TEXT)
def test_exactly_the_texts_with_a_word_of_the_query_are_found(texts, query):
    wanted = set(words(query))
    found = rank(passages(texts), query, 100)
    if not wanted:
        assert len(found) == len(texts)
        return
    assert sorted(found) == sorted(
        key for key, text, _ in passages(texts) if wanted & set(words(f"{key} {text}"))
    )


@pytest.mark.parametrize(
    ("texts", "query", "first"),
    [
        (["decay", "warmup and decay", "decay of the weights, decay"], "decay", "k2"),
        (["lr decay", "lr", "decay"], "lr decay", "k0"),
        (["lr a long text about other things of the day", "lr"], "lr", "k1"),
        (["lr lr lr", "warmup", "lr lr lr"], "lr", "k2"),
        (["\u00df" * 40, "the fit of the curve", "lr"], "fit", "k1"),
    ],
)
def test_more_rarer_denser_and_newer_words_come_first(texts, query, first):
    assert rank(passages(texts), query, 1) == [first]


def test_a_query_without_a_word_gives_the_newest():
    assert rank(passages(["a1", "b1", "c1"]), "the", 2) == ["k2", "k1"]


def test_the_same_words_in_another_form_say_the_same():
    assert same_words("Decays of the weights", "the weight DECAY")
    assert not same_words("decay of weights", "decay of rates")
