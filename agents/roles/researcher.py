"""The researcher: compare the architectures that the issue names."""

from arcfusion.agents.assignment import Assignment, Entry, Finding, Plan
from arcfusion.agents.loop import run_study
from arcfusion.agents.roles.dreamer import plan_dreams
from arcfusion.agents.study import Study, StudyError, read_study


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
    from arcfusion.core.spec import ArchSpec, preset_names

    unknown = [name for name in study.architectures if name not in preset_names()]
    if unknown:
        raise StudyError(f"unknown preset {unknown[0]!r}: there are {', '.join(preset_names())}")
    specs = [ArchSpec.preset(name) for name in study.architectures]
    origins = ["preset"] * len(specs) + ["issue"] * len(study.specs)
    specs += [ArchSpec.from_yaml(text) for text in study.specs]
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise StudyError(f"the study names an architecture twice: {', '.join(names)}")
    baseline = study.baseline or names[0]
    if baseline not in names:
        raise StudyError(f"the baseline {baseline!r} is not one of {', '.join(names)}")
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
    )
