"""The dreamer: new architectures out of the library, measured against the best one so far."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from arcfusion.agents.assignment import Assignment, Entry, Finding, Plan
from arcfusion.agents.loop import run_study
from arcfusion.agents.study import Study, read_study
from arcfusion.core import store
from arcfusion.core.ids import digest

if TYPE_CHECKING:
    from arcfusion.core.spec import ArchSpec

FIRST_BASELINE = "mha"  # when nothing has been measured yet
N_PARENTS = 3


def work(assignment: Assignment) -> Finding:
    """Dream as the issue asks, and measure the dreams."""
    from arcfusion.core.spec import preset_names

    issue = assignment.claim.issue
    study = read_study(issue.metadata, "", tuple(preset_names()))
    return run_study(assignment, lambda: plan_dreams(assignment, study))


def plan_dreams(assignment: Assignment, study: Study) -> Plan:
    """Return a plan of dreams that were never trained here; the best measured net is first."""
    from arcfusion.core.composer import dream
    from arcfusion.core.composer.saved import save_dream

    ranked = measured_specs(assignment, study.protocol)
    baseline = ranked[0]
    known = known_fingerprints(assignment)
    entries = [
        Entry(
            name=baseline.name,
            spec=baseline.to_yaml(),
            origin="best so far" if known else "preset",
            reasoning="the baseline",
        )
    ]
    taken = {baseline.name}
    for position, strategy in enumerate(study.strategies):
        # The issue's id is in the seed: two issues of one lab do not dream the same dreams.
        seed = int(digest([assignment.claim.issue_id, assignment.seed, position])[:8], 16)
        parents = ranked[:N_PARENTS]
        for one in dream(strategy, seed=seed, n=study.n, parents=parents, known=known):
            with store.session(assignment.home, guard=assignment.guard) as session:
                save_dream(session, one, now=datetime.now(UTC), issue_id=assignment.claim.issue_id)
            name = _unique(one.spec.name, taken)
            taken.add(name)
            known.add(one.fingerprint)
            spec = one.spec.replaced(name=name)
            entries.append(
                Entry(
                    name=name,
                    spec=spec.to_yaml(),
                    origin=f"dream: {strategy}",
                    reasoning=one.reasoning,
                    parents=tuple(one.parents),
                )
            )
    return Plan(
        question=assignment.claim.issue.title,
        protocol=study.protocol,
        seeds=study.choose_seeds(assignment.seed),
        entries=tuple(entries),
        hypothesis=study.hypothesis,
    )


def _unique(name: str, taken: set[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def measured_specs(assignment: Assignment, protocol_name: str) -> "list[ArchSpec]":
    """Return the specs measured under the protocol, the best first; else the first preset.

    Only specs whose runs cover at least two seeds count: one seed makes no winner.
    """
    from arcfusion.core.spec import ArchSpec

    connection = store.connect(assignment.home)
    try:
        rows = connection.execute(
            "SELECT a.spec, avg(m.value) AS score FROM run r"
            " JOIN metric m ON m.run_id = r.id AND m.name = 'bits_per_byte'"
            " JOIN architecture a ON a.id = r.architecture_id"
            " JOIN protocol p ON p.key = r.protocol_key"
            " WHERE r.outcome = 'completed' AND p.name = ? AND a.spec IS NOT NULL"
            " GROUP BY a.id HAVING count(DISTINCT r.seed) >= 2 ORDER BY score, a.id",
            (protocol_name,),
        ).fetchall()
    finally:
        connection.close()
    specs = [ArchSpec.model_validate_json(row["spec"]) for row in rows]
    return specs or [ArchSpec.preset(FIRST_BASELINE)]


def known_fingerprints(assignment: Assignment) -> set[str]:
    """Return the identity of every net that has a run here, under whichever protocol."""
    connection = store.connect(assignment.home)
    try:
        rows = connection.execute("SELECT DISTINCT fingerprint FROM run").fetchall()
    finally:
        connection.close()
    return {row["fingerprint"] for row in rows}
