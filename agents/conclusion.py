"""The end of the loop: what the measurements mean, what to try next, and what a person reviews."""

import json
import time
from typing import TYPE_CHECKING

from arcfusion.agents.assignment import Assignment, Finding, Measured
from arcfusion.agents.pull_request import Review, build_review
from arcfusion.agents.workspace import Author, Workspace
from arcfusion.core import store

if TYPE_CHECKING:
    from arcfusion.core.spec import ArchSpec
    from arcfusion.experiments.tables import ComparisonRecord, Hypothesis
    from arcfusion.issues.draft import Json
    from arcfusion.issues.states import Outcome

HYPOTHESIS_PRIORITY = 3


def conclude(assignment: Assignment, measured: Measured) -> Finding:
    """File the next experiments, put cards, code and evidence on a branch, return the finding."""
    from arcfusion.issues.evidence import Evidence, EvidenceKind

    comparisons = _load_comparisons(assignment, measured)
    outcome, reason = judge(comparisons, measured)
    filed = _file_hypotheses(assignment, measured)
    review = build_review(assignment, measured, comparisons, reason=reason, filed=filed)
    commit = _publish(assignment, review)
    run_ids = _counted_runs(comparisons)
    evidence = [Evidence(kind=EvidenceKind.RUN, value=run_id) for run_id in run_ids]
    if commit is not None:
        evidence.append(Evidence(kind=EvidenceKind.COMMIT, value=commit))
    return Finding(
        outcome=outcome,
        reason=reason,
        evidence=tuple(evidence),
        run_ids=measured.run_ids,
        insight_ids=measured.insight_ids,
        issue_ids=tuple(filed),
        branch=review.branch if commit else None,
        commit=commit,
    )


def _load_comparisons(assignment: Assignment, measured: Measured) -> "list[ComparisonRecord]":
    from arcfusion.experiments.tables import ComparisonRecord

    with store.session(assignment.home, guard=assignment.guard) as session:
        found = [session.get(ComparisonRecord, one) for one in measured.comparison_ids]
    return [one for one in found if one is not None]


def _counted_runs(comparisons: "list[ComparisonRecord]") -> list[str]:
    run_ids: dict[str, None] = {}
    for comparison in comparisons:
        for text in (comparison.baseline_run_ids, comparison.candidate_run_ids):
            run_ids.update(dict.fromkeys(json.loads(text)))
    return list(run_ids)


def judge(comparisons: "list[ComparisonRecord]", measured: Measured) -> "tuple[Outcome, str]":
    """Return the outcome that the verdicts give, and one sentence that names them.

    done: a challenger is better; negative: none is, and each is shown to be worse; inconclusive: a
    difference could be there; failed: nothing could be compared.
    """
    from arcfusion.issues.states import Outcome

    if not comparisons:
        return Outcome.FAILED, "no pair of trainings completed, so nothing could be compared"
    names = {one.fingerprint: one.name for one in measured.candidates}
    baseline = measured.candidates[0].name
    parts = []
    for comparison in comparisons:
        interval = (
            "no interval"
            if comparison.low is None or comparison.high is None
            else f"[{comparison.low:+.4f}, {comparison.high:+.4f}]"
        )
        parts.append(
            f"{names[comparison.candidate_fingerprint]} is {comparison.verdict}"
            f" ({comparison.mean_difference:+.4f} {interval} bits per byte, n={comparison.n})"
        )
    reason = f"against {baseline}: {'; '.join(parts)}"
    verdicts = {comparison.verdict for comparison in comparisons}
    if "better" in verdicts:
        return Outcome.DONE, reason
    if verdicts == {"worse"}:
        return Outcome.NEGATIVE, reason
    return Outcome.INCONCLUSIVE, reason


def _file_hypotheses(assignment: Assignment, measured: Measured) -> dict[str, str]:
    """Turn what to try next into issues, each once, discovered from this one; id -> statement."""
    from arcfusion.experiments.hypotheses import (
        file_hypothesis,
        propose,
        record_hypotheses,
        settled_ids,
    )
    from arcfusion.experiments.landscape import load_landscape

    assignment.check()
    key = measured.protocol.key()
    connection = store.connect(assignment.home)
    try:
        proposals = propose(load_landscape(connection, key), settled=settled_ids(connection, key))
    finally:
        connection.close()
    with store.session(assignment.home, guard=assignment.guard) as session:
        hypotheses = record_hypotheses(session, proposals, now=time.time())
    filed = {}
    for hypothesis in hypotheses:
        issue_id = _file(assignment, measured, hypothesis)
        with store.session(assignment.home, guard=assignment.guard) as session:
            file_hypothesis(session, hypothesis.id, issue_id)
        filed[issue_id] = hypothesis.statement
    return filed


def _file(assignment: Assignment, measured: Measured, hypothesis: "Hypothesis") -> str:
    from arcfusion.agents.fingerprint import fingerprint
    from arcfusion.issues.draft import Draft, Edge
    from arcfusion.issues.states import EdgeType, IssueType, Size

    metadata: dict[str, Json] = {"study": _study(assignment, measured, hypothesis)}
    issue = assignment.queue.create(
        Draft(
            title=hypothesis.statement[:500],
            description=f"{hypothesis.change}\n\nStop when: {hypothesis.kill_criterion}",
            acceptance=(
                f"predicted {hypothesis.predicted_verdict}: a difference in bits per byte in"
                f" [{hypothesis.predicted_low:+.4f}, {hypothesis.predicted_high:+.4f}]"
                f" under {hypothesis.protocol_key}"
            ),
            priority=HYPOTHESIS_PRIORITY,
            type=IssueType.SPIKE,
            size=Size.S,
            labels=("hypothesis", f"kind:{hypothesis.kind}", "agent-safe", "role:researcher"),
            metadata=metadata,
            edges=(Edge(EdgeType.DISCOVERED_FROM, assignment.claim.issue_id),),
            experiment=fingerprint(metadata),
        ),
        holding=assignment.claim.token,
    )
    return issue.id


def _study(
    assignment: Assignment, measured: Measured, hypothesis: "Hypothesis"
) -> "dict[str, Json]":
    """Return the study that tests the hypothesis: the reference and the candidate, as specs."""
    from arcfusion.core.spec import ArchSpec

    baseline = _measured_spec(assignment, hypothesis.reference_fingerprint)
    if hypothesis.spec is not None:
        challenger = ArchSpec.from_yaml(hypothesis.spec)
    else:  # a replication trains what was trained before
        assert hypothesis.candidate_fingerprint is not None
        challenger = _measured_spec(assignment, hypothesis.candidate_fingerprint)
    if challenger.name == baseline.name:
        challenger = challenger.replaced(name=f"{challenger.name}-changed")
    return {
        "kind": "compare",
        "specs": [baseline.to_yaml(), challenger.to_yaml()],
        "baseline": baseline.name,
        "protocol": measured.plan.protocol,
        "seeds": json.loads(hypothesis.seeds),
        "hypothesis": hypothesis.id,
    }


def _measured_spec(assignment: Assignment, fingerprint: str) -> "ArchSpec":
    from arcfusion.core.spec import ArchSpec

    connection = store.connect(assignment.home)
    try:
        row = connection.execute(
            "SELECT spec FROM architecture WHERE fingerprint = ?", (fingerprint,)
        ).fetchone()
    finally:
        connection.close()
    assert row is not None, "hypotheses are made from measured architectures only"
    return ArchSpec.model_validate_json(row["spec"])


def _publish(assignment: Assignment, review: Review) -> str | None:
    """Put the review on its branch and on record; None without a git repository."""
    workspace = Workspace(assignment.home.workspace_path)
    if not workspace.is_repository():
        assignment.say("  no branch: the lab is not in a git repository")
        return None
    assignment.check()
    # Everything but the branch's name is made before: nobody waits for git in the transaction.
    draft = workspace.draft_commit(
        review.branch, review.files, message=review.message, author=Author(assignment.actor)
    )
    commit = draft.commit
    connection = store.connect(assignment.home)
    try:
        with store.write(connection, guard=assignment.guard):
            workspace.move_branch(draft)
            connection.execute(
                'INSERT INTO pull_request (issue_id, branch, "commit", title, body, state,'
                " created_at) VALUES (?, ?, ?, ?, ?, 'open', ?)"
                " ON CONFLICT (issue_id) DO UPDATE SET"
                ' "commit" = excluded."commit", title = excluded.title, body = excluded.body',
                (
                    assignment.claim.issue_id,
                    review.branch,
                    commit,
                    review.title,
                    review.body,
                    time.time(),
                ),
            )
    finally:
        connection.close()
    assignment.say(f"  branch to review: {review.branch} ({commit[:12]})")
    return commit
