"""This fails when a short proof of the queue does not hold; the times are for the long one."""

import pytest

from arcfusion.agents.bench import queue_context, queue_idempotency, queue_labels


@pytest.mark.parametrize("group", [queue_context, queue_idempotency, queue_labels])
def test_the_short_proof_holds(group):
    rows = list(group.measure(quick=True))
    assert len(rows) >= 5
    assert [row.name for row in rows if not row.holds and row.unit != "ms"] == []


def test_the_fixture_of_recall_asks_in_other_words():
    memories = dict(queue_context.load_memories())
    queries = queue_context.load_queries()
    assert (len(memories), len(queries)) == (308, 200)
    for query in queries:
        assert query.key in memories
        assert query.text.casefold() not in memories[query.key].casefold()
