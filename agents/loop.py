"""The closed loop of one issue: plan, check, train, compare, conclude, report.

Every step can be repeated: a worker that takes over after a crash follows the stored plan, finds
the runs that its predecessor launched, and writes the same rows and the same branch.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from arcfusion.agents.assignment import Assignment, Finding, Measured, Plan
from arcfusion.agents.context import Facts, check_context
from arcfusion.agents.measurement import save_architectures
from arcfusion.agents.session import load_plan, store_plan
from arcfusion.core import store
from arcfusion.core.errors import RefusedError
from arcfusion.core.ids import digest

if TYPE_CHECKING:
    from arcfusion.core.data.dataset import Prepared
    from arcfusion.experiments.candidate import Candidate
    from arcfusion.experiments.experiment import Progress
    from arcfusion.experiments.gates import GateReport
    from arcfusion.experiments.protocol import Protocol


class GateRefusalError(RefusedError):
    """The baseline, or all that should be compared with it, was refused."""


def run_study(assignment: Assignment, make_plan: Callable[[], Plan]) -> Finding:
    """Do the whole of one issue, from the plan to the branch.

    Args:
        assignment: the claimed issue.
        make_plan: decides what to measure; not called when the issue has a plan already.

    Raises:
        GateRefusalError: nothing is left to compare.
        ContextLostError: the session has to hand over.
        LostGuardError: somebody else holds the issue now.
    """
    from arcfusion.agents.conclusion import conclude

    plan = settle_plan(assignment, make_plan)
    protocol, prepared = _prepare(assignment, plan)
    candidates, refused = design(assignment, plan, protocol)
    save_architectures(assignment.home, candidates, guard=assignment.guard)
    _check_context(assignment, plan)
    run_ids = _train(assignment, plan, protocol, prepared, candidates)
    comparison_ids, insight_ids = _compare(assignment, plan, protocol, candidates)
    measured = Measured(
        plan=plan,
        protocol=protocol,
        candidates=tuple(candidates),
        refused=refused,
        run_ids=tuple(run_ids),
        comparison_ids=comparison_ids,
        insight_ids=insight_ids,
    )
    return conclude(assignment, measured)


def settle_plan(assignment: Assignment, make_plan: Callable[[], Plan]) -> Plan:
    """Return the issue's plan; make and store it first when there is none."""
    issue_id = assignment.claim.issue_id
    document = load_plan(assignment.home, issue_id)
    if document is None:
        document = store_plan(
            assignment.home,
            issue_id,
            make_plan().model_dump(mode="json"),
            guard=assignment.guard,
        )
    plan = Plan.from_document(document)
    for entry in plan.entries:
        assignment.log.add(
            "plan", f"{entry.name} ({entry.origin}): {entry.reasoning}\n{entry.spec}"
        )
        assignment.say(f"  {entry.name}: {entry.origin}; {entry.reasoning}")
    return plan


def _prepare(assignment: Assignment, plan: Plan) -> "tuple[Protocol, Prepared]":
    from arcfusion.experiments.experiment import prepare_protocol
    from arcfusion.experiments.protocol import Protocol

    assignment.check()
    return prepare_protocol(assignment.home, Protocol.load(plan.protocol))


def design(
    assignment: Assignment, plan: Plan, protocol: "Protocol"
) -> "tuple[list[Candidate], dict[str, str]]":
    """Write each entry's code and put it through the gates in the sandbox; each net once.

    Returns:
        The candidates that passed, the baseline first, and why each other one was refused.

    Raises:
        GateRefusalError: the baseline or all challengers were refused.
    """
    from arcfusion.core.spec import ArchSpec
    from arcfusion.experiments.candidate import candidate_from_spec

    passed: list[Candidate] = []
    refused: dict[str, str] = {}
    for entry in plan.entries:
        assignment.check()
        spec = ArchSpec.from_yaml(entry.spec).with_size(vocab_size=protocol.vocab_size)
        candidate = candidate_from_spec(spec, context=protocol.training.context)
        twins = [one.name for one in passed if one.fingerprint == candidate.fingerprint]
        if twins:
            refused[entry.name] = f"it builds the same net as {twins[0]}"
            assignment.say(f"  {entry.name}: {refused[entry.name]}")
            continue
        report = _gate(assignment, candidate, protocol)
        failed = "; ".join(
            f"{result.name}: {result.detail}"
            for result in report.results
            if result.outcome == "fail"
        )
        if report.verdict in {"pass", "warn"}:
            passed.append(candidate)
        else:
            refused[entry.name] = failed or f"the gates' verdict is {report.verdict}"
        assignment.log.add("gates", f"{entry.name}: {report.verdict} {failed}".strip())
        assignment.say(f"  gates {entry.name}: {report.verdict} {failed}".rstrip())
    baseline = plan.entries[0].name
    if baseline in refused or len(passed) < 2:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise GateRefusalError(f"nothing is left to compare with {baseline!r} ({reasons})")
    return passed, refused


def _gate(assignment: Assignment, candidate: "Candidate", protocol: "Protocol") -> "GateReport":
    from arcfusion.experiments import registry
    from arcfusion.experiments.gates.confined import gate_source

    report = gate_source(
        candidate.source,
        tier=assignment.tier,
        vocab_size=candidate.vocab_size,
        d_model=candidate.d_model,
        n_layers=candidate.n_layers,
    )
    with store.session(assignment.home, guard=assignment.guard) as session:
        registry.record_gates(
            session,
            candidate.fingerprint,
            report.results,
            harness_version=protocol.harness_version,
            now=time.time(),
        )
    return report


def _check_context(assignment: Assignment, plan: Plan) -> None:
    """Compact or hand over now: from here on the session waits for trainings."""
    facts = Facts(
        issue_id=assignment.claim.issue_id,
        fence=assignment.claim.fence,
        plan_digest=digest(plan.model_dump(mode="json")),
    )
    check = check_context(assignment.log, facts)
    assignment.say(f"  context: {check.tokens_before} tokens, {check.action}")


def _train(
    assignment: Assignment,
    plan: Plan,
    protocol: "Protocol",
    prepared: "Prepared",
    candidates: "Sequence[Candidate]",
) -> list[str]:
    from arcfusion.agents.workspace import Workspace
    from arcfusion.experiments.experiment import Conditions, conduct

    last = -1

    def tick(progress: "Progress") -> None:
        nonlocal last
        assignment.check()
        if progress.done != last:
            last = progress.done
            assignment.say(f"  runs: {progress.done} of {progress.total} done")

    conditions = Conditions(
        parallel=assignment.parallel,
        tier=assignment.tier,
        fence=assignment.claim.fence,
        guard=assignment.guard,
        issue_id=assignment.claim.issue_id,
        commit=Workspace(assignment.home.workspace_path).resolve("HEAD"),
        replica=plan.replica,
    )
    return conduct(
        assignment.home, candidates, protocol, prepared, plan.seeds, conditions, tick=tick
    )


def _compare(
    assignment: Assignment,
    plan: Plan,
    protocol: "Protocol",
    candidates: "Sequence[Candidate]",
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compare each challenger with the baseline over the plan's seeds; make the claims."""
    from arcfusion.experiments.compare import NoPairedSeedsError
    from arcfusion.experiments.comparisons import compare_architectures
    from arcfusion.experiments.hypotheses import settle_hypothesis
    from arcfusion.experiments.insights import record_insight

    assignment.check()
    comparison_ids: list[str] = []
    insight_ids: list[str] = []
    for candidate in candidates[1:]:
        try:
            with store.session(assignment.home, guard=assignment.guard) as session:
                comparison = compare_architectures(
                    session,
                    baseline=candidates[0].fingerprint,
                    candidate=candidate.fingerprint,
                    protocol_key=protocol.key(),
                    seeds=plan.seeds,
                    now=time.time(),
                    issue_id=assignment.claim.issue_id,
                )
                insight = record_insight(session, comparison, now=time.time())
                if plan.hypothesis is not None:
                    settle_hypothesis(session, plan.hypothesis, comparison, now=time.time())
        except NoPairedSeedsError as error:
            assignment.say(f"  no comparison of {candidate.name}: {error}")
            assignment.log.add("comparison", str(error))
            continue
        comparison_ids.append(comparison.id)
        if insight is not None:
            insight_ids.append(insight.id)
            assignment.say(f"  {insight.claim}")
            assignment.log.add("insight", insight.claim)
    return tuple(comparison_ids), tuple(dict.fromkeys(insight_ids))
