"""This fails when the fixture of recall asks in the words of what it looks for."""

from arcfusion.agents.bench import queue_context


def test_the_fixture_of_recall_asks_in_other_words():
    memories = dict(queue_context.load_memories())
    queries = queue_context.load_queries()
    assert (len(memories), len(queries)) == (308, 200)
    for query in queries:
        assert query.key in memories
        assert query.text.casefold() not in memories[query.key].casefold()
