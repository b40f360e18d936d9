"""What a person is asked to review: the branch's files and the pull request's text."""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arcfusion import __version__
from arcfusion.agents.assignment import Assignment, Measured
from arcfusion.core import store

if TYPE_CHECKING:
    from arcfusion.experiments.tables import ComparisonRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A branch before it is written.

    Attributes:
        branch: `agent/<issue id>`.
        title: of the pull request.
        body: Markdown; also on the branch as PULL_REQUEST.md.
        files: path -> text.
        message: of the commit.
    """

    branch: str
    title: str
    body: str
    files: dict[str, str]
    message: str


def build_review(
    assignment: Assignment,
    measured: Measured,
    comparisons: "list[ComparisonRecord]",
    *,
    reason: str,
    filed: dict[str, str],
) -> Review:
    """Return the branch with model code, cards, evidence and the text; same facts, same bytes."""
    from arcfusion.experiments.cards import CardNotFoundError, load_card, render_card

    issue = assignment.claim.issue
    folder = f"lab/{issue.id}"
    body = _build_body(assignment, measured, comparisons, reason=reason, filed=filed)
    files = {
        f"{folder}/PULL_REQUEST.md": body,
        f"{folder}/plan.json": measured.plan.model_dump_json(indent=2) + "\n",
        f"{folder}/evidence.json": _build_evidence(assignment, comparisons),
    }
    key = measured.protocol.key()
    connection = store.connect(assignment.home)
    try:
        for candidate in measured.candidates:
            stem = _file_stem(candidate.name)
            files[f"{folder}/models/{stem}.py"] = candidate.source
            with suppress(CardNotFoundError):  # every run of it failed: the text says so
                card = load_card(connection, candidate.fingerprint, key)
                files[f"{folder}/cards/{stem}.md"] = render_card(card)
    finally:
        connection.close()
    title = f"{issue.id}: {issue.title}"
    return Review(
        branch=f"agent/{issue.id}",
        title=title,
        body=body,
        files=files,
        message=f"{title[:72]}\n\n{reason}\n\nArcFusion-Issue: {issue.id}\n",
    )


def _file_stem(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)


def _build_evidence(assignment: Assignment, comparisons: "list[ComparisonRecord]") -> str:
    """Return the comparisons with every run's score, as JSON."""
    documents = []
    connection = store.connect(assignment.home)
    try:
        for one in comparisons:
            run_ids = [*json.loads(one.baseline_run_ids), *json.loads(one.candidate_run_ids)]
            rows = connection.execute(
                "SELECT r.id, r.name, r.seed, r.fingerprint, r.sandbox_tier,"
                " m.value AS bits_per_byte FROM run r"
                " JOIN metric m ON m.run_id = r.id AND m.name = 'bits_per_byte'"
                " WHERE r.id IN (SELECT value FROM json_each(?)) ORDER BY r.name, r.seed",
                (json.dumps(run_ids),),
            ).fetchall()
            documents.append(
                {
                    "comparison": one.id,
                    "protocol_key": one.protocol_key,
                    "confidence": one.confidence,
                    "difference_bits_per_byte": one.mean_difference,
                    "interval": [one.low, one.high],
                    "verdict": one.verdict,
                    "runs": [dict(row) for row in rows],
                }
            )
    finally:
        connection.close()
    return json.dumps(documents, indent=2) + "\n"


def _build_body(
    assignment: Assignment,
    measured: Measured,
    comparisons: "list[ComparisonRecord]",
    *,
    reason: str,
    filed: dict[str, str],
) -> str:
    names = {one.fingerprint: one.name for one in measured.candidates}
    key = measured.protocol.key()
    baseline, *challengers = measured.candidates
    models = f"lab/{assignment.claim.issue_id}/models"
    lines = [
        f"# {assignment.claim.issue.title}",
        "",
        f"Issue {assignment.claim.issue_id}. {reason[:1].upper()}{reason[1:]}.",
        "",
        "| candidate | verdict | difference | interval | seeds | runs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in comparisons:
        low, high = (("-" if v is None else f"{v:+.4f}") for v in (one.low, one.high))
        runs = ", ".join([*json.loads(one.baseline_run_ids), *json.loads(one.candidate_run_ids)])
        lines.append(
            f"| {names[one.candidate_fingerprint]} against {names[one.baseline_fingerprint]}"
            f" | {one.verdict} | {one.mean_difference:+.4f} | [{low}, {high}] at"
            f" {one.confidence:.0%} | {one.n} | {runs} |"
        )
    lines += [
        "",
        "Differences are in bits per byte over the whole validation split; negative is better than"
        f" {baseline.name}.",
        "",
        f"Protocol: {measured.protocol.describe()} ({key}).",
        "",
        "## Reproduce",
        "",
        "```",
        *(
            f"arcfusion compare {models}/{_file_stem(baseline.name)}.py"
            f" {models}/{_file_stem(one.name)}.py --protocol {measured.plan.protocol}"
            f" --seeds {len(measured.plan.seeds)} --seed {measured.plan.seeds[0]}"
            for one in challengers
        ),
        "```",
        "",
        "## Limits",
        "",
        "The verdicts hold for this protocol, these sizes and this data, not beyond.",
        *(f"Refused: {name} ({why})." for name, why in measured.refused.items()),
        "",
        "## Next",
        "",
        *(f"- {issue_id}: {statement}" for issue_id, statement in filed.items()),
        "",
        f"Written by ArcFusion {__version__}; the model files are generated.",
    ]
    return "\n".join(lines) + "\n"
