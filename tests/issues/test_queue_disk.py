"""This fails when a disk that refuses a write leaves half of it, or is not named in one line."""

import resource
from contextlib import contextmanager

import pytest

from arcfusion.agents.bench.queue_script import damage, fingerprint
from arcfusion.core.errors import DatabaseFailedError, DatabaseFullError
from arcfusion.issues.draft import Draft

pytestmark = pytest.mark.sqlite


@contextmanager
def no_more_pages(connection):
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages}")
    yield
    connection.execute("PRAGMA max_page_count=1073741823")


@contextmanager
def no_larger_files(_):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("fault", "error"), [(no_more_pages, DatabaseFullError), (no_larger_files, DatabaseFailedError)]
)
def test_a_write_that_the_disk_refuses_is_one_error_and_can_be_done_again(queue, fault, error):
    queue.create(Draft(title="before", id="before"))
    connection = queue._connection
    state = fingerprint(connection)
    # Longer than what is free in the pages that are there.
    draft = Draft(title="large", id="large", description="x" * 50_000)
    with fault(connection), pytest.raises(error) as raised:
        queue.create(draft)
    assert "\n" not in str(raised.value)
    assert fingerprint(connection) == state
    assert damage(connection) == []
    assert queue.create(draft).description == draft.description
    assert damage(connection) == []
