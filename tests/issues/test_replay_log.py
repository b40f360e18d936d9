from contextlib import closing

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import issue as issue_cli
from arcfusion.agents.cli.typed import build_app
from arcfusion.core import store
from arcfusion.issues import replay
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.errors import ReplayMismatchError
from arcfusion.issues.evidence import Evidence, EvidenceKind
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.states import EdgeType, EventType, Outcome

RAN = Evidence(kind=EvidenceKind.COMMAND, value="make test", exit_status=0)
HANDOFF = Handoff(tried="one", result="none", next="two")


@pytest.fixture
def busy(queue):
    """A lab with a row in every table."""
    queue.create(Draft(title="a", id="a", labels=("x",)))
    queue.create(Draft(title="b", id="b", edges=(Edge(EdgeType.BLOCKS, "a"),)))
    queue.create(Draft(title="c", id="c"))
    claim = queue.claim("a")
    queue.close(claim, Outcome.DONE, reason="", evidence=[RAN], handoff=HANDOFF)
    claim = queue.claim("b")
    queue.checkpoint(claim, HANDOFF)
    queue.heartbeat(claim)
    queue.comment("b", "hello")
    queue.remember("text", key="m")
    return queue


def test_every_event_has_a_meaning_for_replay():
    assert set(replay._APPLY) == set(EventType)


def test_a_handoff_at_the_close_is_in_the_log(busy):
    assert replay.verify(busy).differences == ()
    assert busy.show("a").attempts[0].handoff == HANDOFF


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE issue SET title = 'z' WHERE id = 'c'", "issue c, title: the log says 'c'"),
        ("UPDATE issue SET blocked_by = 1 WHERE id = 'c'", "issue c, blocked_by: "),
        ("UPDATE issue SET revision = 9 WHERE id = 'a'", "issue a, revision: "),
        ("DELETE FROM label", "label a x: the log says 'there', the table 'missing'"),
        ("DELETE FROM dependency", "dependency b a blocks: "),
        ("UPDATE lease SET fence = 9", "lease b, fence: "),
        ("DELETE FROM lease", "lease b: "),
        ("UPDATE attempt SET handoff = NULL WHERE issue_id = 'a'", "attempt a@1, handoff: "),
        ("UPDATE comment SET text = 'z'", "comment 1, text: "),
        ("INSERT INTO label VALUES ('c', 'y')", "label c y: the log says 'missing'"),
        ("UPDATE memory SET actor = 'z'", "memory m, actor: "),
        ("DELETE FROM event WHERE seq = 3", "event 4, seq: the log says 3, the table 4"),
        ("UPDATE event SET type = 'sung' WHERE seq = 3", "event 3, type: "),
        ("UPDATE event SET after = '{}' WHERE seq = 1", "event 1, after: "),
    ],
)
def test_a_planted_difference_is_named(busy, damage, found):
    with closing(store.connect(busy.home)) as connection:
        connection.execute(damage)
    differences = [str(difference) for difference in replay.verify(busy).differences]
    assert differences
    assert any(text.startswith(found) for text in differences), differences


def test_heartbeats_are_not_compared(busy):
    with closing(store.connect(busy.home)) as connection:
        connection.execute("UPDATE lease SET heartbeat_at = 1, expires_at = 2")
    assert replay.verify(busy).differences == ()


def test_verify_exits_5_when_the_log_does_not_rebuild_the_tables(busy):
    with closing(store.connect(busy.home)) as connection:
        connection.execute("UPDATE issue SET title = 'z' WHERE id = 'c'")
    result = CliRunner().invoke(build_app(issue_cli.app), ["verify"])
    assert isinstance(result.exception, ReplayMismatchError)
    assert result.exception.exit_code == 5
    assert "issue c, title: the log says 'c', the table 'z'" in result.stdout
