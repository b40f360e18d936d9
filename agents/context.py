"""The context check: compact or hand over BEFORE a training is launched, never during.

A predecessor's agent ran out of context in the middle of paid trainings. So nothing is launched
until what the session holds fits its window, and until the facts that the launch depends on (issue,
fence, plan) survive a compaction: they are restated from the summary alone and compared with the
database.
"""

import json
from dataclasses import dataclass
from typing import Literal

from arcfusion.agents.session import SessionLog, estimate_tokens
from arcfusion.core import store
from arcfusion.core.errors import RefusedError
from arcfusion.core.home import Home

WINDOW_TOKENS = 200_000
COMPACT_ABOVE = 0.5  # of the window: the evaluation and the report still have to fit


class ContextLostError(RefusedError):
    """The session no longer knows what it is working on; it hands over instead of launching."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the launch depends on."""

    issue_id: str
    fence: int
    plan_digest: str


@dataclass(frozen=True, slots=True)
class ContextCheck:
    """The check's result."""

    action: Literal["proceed", "compacted"]
    tokens_before: int
    tokens_after: int


def check_context(
    log: SessionLog, facts: Facts, *, window_tokens: int = WINDOW_TOKENS
) -> ContextCheck:
    """Make sure that the session can last until its trainings are judged; compact it if it can not.

    Raises:
        ContextLostError: the restated facts differ from the database, or the summary is too long.
    """
    before = sum(turn.tokens for turn in log.turns())
    limit = int(window_tokens * COMPACT_ABOVE)
    action: Literal["proceed", "compacted"] = "proceed"
    if before > limit:
        log.compact(_summarise(log, facts, limit))
        action = "compacted"
        restated = restate(log)
    else:
        restated = facts
    after = sum(turn.tokens for turn in log.turns())
    held = _facts_in_database(log.home, facts.issue_id)
    if restated != held:
        raise ContextLostError(f"the session restates {restated}, the database holds {held}")
    if after > limit:
        raise ContextLostError(f"the summary alone needs {after} of {limit} tokens")
    return ContextCheck(action=action, tokens_before=before, tokens_after=after)


def _summarise(log: SessionLog, facts: Facts, limit: int) -> str:
    """Return the facts as one JSON line, then the newest turns that fit in limit / 4."""
    header = json.dumps(
        {"issue_id": facts.issue_id, "fence": facts.fence, "plan_digest": facts.plan_digest}
    )
    lines: list[str] = []
    used = estimate_tokens(header)
    for turn in reversed(log.turns()):
        line = f"- {turn.kind}: {' '.join(turn.content.split())[:400]}"
        used += estimate_tokens(line)
        if used > limit // 4:
            break
        lines.append(line)
    return "\n".join([header, *reversed(lines)])


def restate(log: SessionLog) -> Facts:
    """Read the facts back from what is left in context alone.

    Raises:
        ContextLostError: they are not there.
    """
    for turn in reversed(log.turns()):
        if turn.kind == "summary":
            try:
                return Facts(**json.loads(turn.content.splitlines()[0]))
            except (ValueError, TypeError, IndexError) as error:
                raise ContextLostError("the summary does not begin with the facts") from error
    raise ContextLostError("there is no summary in the session")


def _facts_in_database(home: Home, issue_id: str) -> Facts | None:
    connection = store.connect(home)
    try:
        row = connection.execute(
            "SELECT issue.id AS issue_id, issue.fence, plan.digest AS plan_digest"
            " FROM issue JOIN plan ON plan.issue_id = issue.id WHERE issue.id = ?",
            (issue_id,),
        ).fetchone()
    finally:
        connection.close()
    return None if row is None else Facts(**dict(row))
