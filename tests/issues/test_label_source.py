"""This fails when a wanted label makes ready scan the lab, or changes what it returns."""

from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcfusion.core import store
from arcfusion.issues import labels as source_module
from arcfusion.issues.claims import next_sql
from arcfusion.issues.draft import Draft
from arcfusion.issues.fit import Filter
from arcfusion.issues.labels import choose_source
from arcfusion.issues.reading import ready_sql

NAMES = ("a", "b", "c")


def fill(queue, numbers: int) -> None:
    drafts = [
        Draft(
            title=f"issue {number}",
            priority=number % 3,
            labels=("most", *(["few"] if number % 50 == 7 else [])),
        )
        for number in range(numbers)
    ]
    queue.create_all(drafts)


@pytest.mark.sqlite  # reads its query plan
@pytest.mark.parametrize("make", [next_sql, ready_sql])
def test_a_rare_label_is_looked_up_by_its_index(lab, queue, make):
    fill(queue, 200)
    wanted = Filter(labels=("most", "few"))
    with closing(store.connect(lab)) as connection:
        source = choose_source(connection, wanted.labels, 1)
        condition, values = wanted.condition(given=source.label)
        sql = make(condition, source)
        parameters = [*source.values, 0.0, *values, *([10] if make is ready_sql else [])]
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
    steps = [row["detail"] for row in plan]
    assert source.label == "few"
    assert "ix_label_name (name=?)" in steps[0]
    assert "issue_1 (id=?)" in steps[1]
    assert not any("SCAN" in step for step in steps)


def test_a_label_that_most_carry_is_read_in_working_order(lab, queue):
    fill(queue, 200)
    with closing(store.connect(lab)) as connection:
        assert choose_source(connection, ("most",), 1).label is None
        assert choose_source(connection, ("most",), 100).label == "most"
        assert choose_source(connection, (), 1).label is None
        assert choose_source(connection, ("nobody", "most"), 1).label == "nobody"


@given(
    carried=st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=30),
    wanted=st.sets(st.sampled_from(NAMES), max_size=3),
    bound=st.integers(0, 20),
)
@settings(deadline=None, max_examples=40)
def test_both_ways_give_the_same_issues_in_the_same_order(
    template_lab, tmp_path_factory, carried, wanted, bound
):
    import shutil

    from arcfusion.core.home import Home
    from arcfusion.issues.queue import Queue

    workspace = tmp_path_factory.mktemp("lab") / "lab"
    shutil.copytree(template_lab, workspace)
    with (
        pytest.MonkeyPatch.context() as patch,
        Queue(Home(workspace / ".arcfusion"), "alice", clock=lambda: 1e9) as queue,
    ):
        queue._connection.execute("PRAGMA synchronous=OFF")
        queue.create_all(
            [
                Draft(title=f"{n}", priority=n % 4, labels=tuple(sorted(names)))
                for n, names in enumerate(carried)
            ]
        )
        expected = [issue.id for issue in queue.ready() if wanted <= set(issue.labels)]
        patch.setattr(source_module, "_CARRIERS_OF_ONE", bound)
        assert [issue.id for issue in queue.ready(9, labels=[*wanted])] == expected[:9]
        for issue_id in expected:
            assert queue.claim(labels=[*wanted]).issue_id == issue_id
