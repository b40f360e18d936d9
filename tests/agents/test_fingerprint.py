"""This fails when one experiment is queued twice, or two different ones are taken for one."""

import json

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import issue as issue_cli
from arcfusion.agents.cli.typed import build_app
from arcfusion.agents.fingerprint import fingerprint
from arcfusion.agents.study import StudyError
from arcfusion.core.errors import BadInputError
from arcfusion.core.home import Home
from arcfusion.core.spec import ArchSpec
from arcfusion.issues.errors import ExperimentExistsError, PlanError
from arcfusion.issues.plan import file_plan, parse_plan
from arcfusion.issues.queue import Queue

STUDY = {"architectures": ["mha", "mamba", "gqa"], "protocol": "smoke", "seeds": [0, 1, 2]}


def identify(**changes: object) -> str | None:
    return fingerprint({"study": STUDY | changes})


def test_names_texts_and_order_are_no_part_of_it():
    known = identify()
    assert known is not None
    renamed = ArchSpec.preset("mamba").replaced(name="other").to_yaml()
    assert identify(architectures=["mha", "gqa", "mamba"]) == known
    assert identify(architectures=["mha", "gqa"], specs=[renamed]) == known
    assert identify(seeds=[2, 0, 1], hypothesis="hyp-1", baseline="mha") == known
    assert fingerprint({"study": STUDY, "note": "again", "replica": 2}) == known


@pytest.mark.parametrize(
    "change",
    [
        {"architectures": ["mha", "mamba"]},
        {"architectures": ["mha", "mamba", "mqa"]},
        {"baseline": "mamba"},
        {"protocol": "standard"},
        {"seeds": [0, 1, 3]},
        {"seeds": 3},
    ],
)
def test_what_changes_the_result_changes_it(change):
    assert identify(**change) != identify()


def test_a_dream_and_an_issue_without_a_study_have_none():
    assert fingerprint({"study": {"kind": "dream"}}) is None
    assert fingerprint({"other": 1}) is None
    for study in ({"architectures": ["mha", "nope"]}, {"architectures": ["mha"]}, "mha"):
        with pytest.raises(StudyError):
            fingerprint({"study": study})


@pytest.fixture
def create(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home.workspace_path)

    def run(title: str, *options: str, **study: object) -> dict:
        metadata = json.dumps({"study": STUDY | study})
        words = ["create", title, "--metadata", metadata, "--json", *options]
        result = CliRunner().invoke(build_app(issue_cli.app), words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return json.loads(result.stdout)["data"] | {"said": result.stderr}

    return run


def test_the_same_experiment_is_filed_once_and_replicas_are_numbered(create, home):
    first = create("Is it better?")
    again = create("Another title", "--priority", "0")
    assert again["id"] == first["id"]
    assert "nothing was written" in again["said"]
    replicas = [create("Once more", "--replicate") for _ in range(2)]
    assert [issue["metadata"]["replica"] for issue in replicas] == [1, 2]
    assert len({first["id"], *(issue["id"] for issue in replicas)}) == 3
    assert "replica" not in first["metadata"]
    with Queue(home, "t") as queue:
        assert len(queue.list()) == 3
    other = create("Another one", seeds=[7, 8])
    assert other["id"] not in {first["id"], *(issue["id"] for issue in replicas)}
    with pytest.raises(BadInputError, match="--replicate"):
        create("A dream", "--replicate", kind="dream", architectures=[])


PLAN = """plan: p
issues:
  - {key: a, title: A, metadata: {study: {architectures: [mha, mamba], seeds: [0, 1]}}}
  - {key: b, title: B, metadata: {study: {architectures: [mha, mqa], seeds: [0, 1]}}}
"""


def test_a_plan_keeps_its_keys_and_is_checked_against_the_queue(create, home):
    plan = parse_plan(PLAN, name="p")
    with Queue(home, "t") as queue:
        filed = file_plan(queue, plan, identify=fingerprint)
        assert filed.issues["a"].idempotency_key == "plan:p:a"
        assert file_plan(queue, plan, identify=fingerprint).new_keys == ()
        by_hand = create("By hand", architectures=["mha", "mamba"], seeds=[1, 0])
        assert by_hand["id"] == filed.issues["a"].id
        other = parse_plan(PLAN.replace("plan: p", "plan: q"), name="q")
        with pytest.raises(ExperimentExistsError, match=filed.issues["a"].id):
            file_plan(queue, other, identify=fingerprint)
        twin = parse_plan(PLAN.replace("mqa", "mamba").replace("plan: p", "plan: r"), name="r")
        with pytest.raises(ExperimentExistsError):
            file_plan(queue, twin, identify=fingerprint)
        repeated = PLAN.replace("plan: p", "plan: s").replace("}}}", "}, replica: 1}}")
        replicas = file_plan(queue, parse_plan(repeated, name="s"), identify=fingerprint)
        assert [issue.metadata["replica"] for issue in replicas.issues.values()] == [1, 1]
        wrong = parse_plan(PLAN.replace("mqa", "nope").replace("plan: p", "plan: t"), name="t")
        with pytest.raises(PlanError, match="entry 'b': unknown preset 'nope'"):
            file_plan(queue, wrong, identify=fingerprint)
        assert len(queue.list()) == 4
    assert (
        create("Again", "--replicate", architectures=["mha", "mamba"], seeds=[0, 1])["metadata"][
            "replica"
        ]
        == 2
    )
