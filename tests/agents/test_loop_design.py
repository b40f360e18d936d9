"""This fails when a net is measured against itself, or a refused one reaches the trainings."""

import pytest

from arcfusion.agents.assignment import Assignment, Entry, Plan
from arcfusion.agents.loop import GateRefusalError, design
from arcfusion.agents.session import SessionLog
from arcfusion.core import store
from arcfusion.core.home import Home
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.spec import ArchSpec
from arcfusion.core.store import unguarded
from arcfusion.experiments.protocol import Protocol
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim


def entry(name: str, spec: ArchSpec) -> Entry:
    return Entry(name=name, spec=spec.replaced(name=name).to_yaml(), origin="test", reasoning="")


def test_two_names_of_one_net_are_not_compared(home: Home, claim: Claim) -> None:
    mha = ArchSpec.from_yaml("d_model: 32\nlayers: [mha]\n")
    twin = ArchSpec.from_yaml("d_model: 32\nlayers: [gqa]\noptions: {gqa: {n_kv_heads: 4}}\n")
    plan = Plan(
        question="q",
        protocol="instant",
        seeds=(0, 1),
        entries=(entry("mha", mha), entry("twin", twin)),
    )
    said: list[str] = []
    with Queue(home, "t") as queue:
        assignment = Assignment(
            home=home,
            queue=queue,
            claim=claim,
            actor="t",
            seed=0,
            parallel=1,
            tier=Tier.GOOD,
            log=SessionLog(home, issue_id=claim.issue_id, fence=claim.fence, guard=unguarded),
            check=lambda: None,
            guard=unguarded,
            say=said.append,
        )
        with pytest.raises(GateRefusalError, match="twin: it builds the same net as mha"):
            design(assignment, plan, Protocol.load("instant"))
    connection = store.connect(home)
    gated = connection.execute("SELECT count(DISTINCT fingerprint) FROM gate_record").fetchone()[0]
    connection.close()
    assert gated == 1
