"""The researcher: compare the architectures that the issue names."""

from arcfusion.agents.assignment import Assignment, Entry, Finding, Plan
from arcfusion.agents.loop import run_study
from arcfusion.agents.roles.dreamer import plan_dreams
from arcfusion.agents.study import Study, read_architectures, read_replica, read_study


def work(assignment: Assignment) -> Finding:
    """Measure what the issue names; an issue that names nothing is dreamed about."""
    from arcfusion.core.spec import preset_names

    issue = assignment.claim.issue
    words = f"{issue.title}\n{issue.description}"
    study = read_study(issue.metadata, words, tuple(preset_names()))
    planner = plan_dreams if study.kind == "dream" else plan_comparison
    return run_study(assignment, lambda: planner(assignment, study))


def plan_comparison(assignment: Assignment, study: Study) -> Plan:
    """Return a plan over the named presets and the given specs, the baseline first.

    Raises:
        StudyError: the baseline or a preset is unknown, or a name is given twice.
        SpecError: a spec does not validate.
    """
    specs, origins, baseline = read_architectures(study)
    question = assignment.claim.issue.title
    entries = [
        Entry(
            name=spec.name,
            spec=spec.to_yaml(),
            origin=origin,
            reasoning="the baseline" if spec.name == baseline else f"asked by: {question}",
        )
        for spec, origin in zip(specs, origins, strict=True)
    ]
    entries.sort(key=lambda entry: entry.name != baseline)
    return Plan(
        question=question,
        protocol=study.protocol,
        seeds=study.choose_seeds(assignment.seed),
        entries=tuple(entries),
        hypothesis=study.hypothesis,
        replica=read_replica(assignment.claim.issue.metadata),
    )
