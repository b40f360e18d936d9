"""Proofs that a user can run: `arcfusion bench NAME` prints what holds on this machine."""

# A bench module has GROUPS: name -> a function of `quick` that returns measured rows.
BENCHES: dict[str, str] = {
    "loop": "arcfusion.agents.bench.loop",
    "queue": "arcfusion.agents.bench.queue",
}
