"""Trainings that a person asks for at the command line, by the same path as a worker's."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arcfusion.core.home import Home

if TYPE_CHECKING:
    from arcfusion.core.sandbox.strength import Tier
    from arcfusion.core.store import Guard
    from arcfusion.experiments.candidate import Candidate
    from arcfusion.experiments.experiment import Progress
    from arcfusion.experiments.protocol import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to train.

    Attributes:
        targets: model files (.py), specs (.yaml) or presets.
        protocol: a preset's name or a YAML file.
        seeds: the same for each target.
        d_model: width; None is the target's own.
        n_layers: layers; None is the target's own.
        tier: the weakest sandbox.
        parallel: trainings at the same time.
        replica: 0, or the number of a deliberate replication.
    """

    targets: tuple[str, ...]
    protocol: str
    seeds: tuple[int, ...]
    d_model: int | None
    n_layers: int | None
    tier: "Tier"
    parallel: int
    replica: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What an order names, looked up and built once; nothing is written yet."""

    protocol: "Protocol"
    candidates: "tuple[Candidate, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was trained, or had been before: the protocol bound to its data, and the runs."""

    protocol: "Protocol"
    run_ids: tuple[str, ...]


def load(home: Home, order: Order) -> Loaded:
    """Look up what the order names.

    Raises:
        BadInputError: a target or the protocol is not usable.
    """
    from arcfusion.core import store
    from arcfusion.experiments.candidate import load_candidate
    from arcfusion.experiments.protocol import Protocol

    protocol = Protocol.load(order.protocol)
    with closing(store.connect(home)) as connection:
        candidates = tuple(
            load_candidate(
                target,
                connection,
                vocab_size=protocol.vocab_size,
                context=protocol.training.context,
                d_model=order.d_model,
                n_layers=order.n_layers,
                tier=order.tier,
            )
            for target in order.targets
        )
    return Loaded(protocol=protocol, candidates=candidates)


def measure(
    home: Home, order: Order, loaded: Loaded, *, tick: "Callable[[Progress], None]"
) -> Done:
    """Train every candidate with every seed, unless that was done before.

    A KeyboardInterrupt stops the trainings with a checkpoint; the same order goes on from there.

    Raises:
        NoTextError, TextTooShortError: the protocol's data is not usable; no run is planned.
    """
    from arcfusion.agents.workspace import Workspace
    from arcfusion.core.store import unguarded
    from arcfusion.experiments.experiment import (
        Conditions,
        cancel,
        conduct,
        prepare_protocol,
    )

    protocol, prepared = prepare_protocol(home, loaded.protocol)
    save_architectures(home, loaded.candidates, guard=unguarded)
    running: tuple[str, ...] = ()

    def watch(progress: "Progress") -> None:
        nonlocal running
        running = progress.running
        tick(progress)

    conditions = Conditions(
        parallel=order.parallel,
        tier=order.tier,
        guard=unguarded,
        commit=Workspace(home.workspace_path).resolve("HEAD"),
        replica=order.replica,
    )
    try:
        run_ids = conduct(
            home, loaded.candidates, protocol, prepared, order.seeds, conditions, tick=watch
        )
    except KeyboardInterrupt:
        cancel(home, running)
        raise
    return Done(protocol=protocol, run_ids=tuple(run_ids))


def save_architectures(home: Home, candidates: "Sequence[Candidate]", *, guard: "Guard") -> None:
    """Put each candidate among the lab's architectures, once by what it builds."""
    import time

    from arcfusion.core import store
    from arcfusion.core.library.tables import Architecture
    from arcfusion.core.spec import ArchSpec

    with store.session(home, guard=guard) as session:
        for one in candidates:
            if session.get(Architecture, one.architecture_id) is None:
                spec = ArchSpec.from_yaml(one.spec_yaml) if one.spec_yaml else None
                session.add(
                    Architecture(
                        id=one.architecture_id,
                        name=one.name,
                        spec=spec.model_dump_json() if spec else None,
                        fingerprint=one.fingerprint,
                        code_sha256=one.code_sha256,
                        created_at=time.time(),
                    )
                )


def read_runs(home: Home, run_ids: Sequence[str]) -> list[dict[str, object]]:
    """Return the runs with their figures, in the given order."""
    import json

    from arcfusion.core import store

    connection = store.connect(home)
    try:
        rows = connection.execute(
            "SELECT id, name, fingerprint, protocol_key, seed, replica, state, outcome, reason,"
            " parameters, sandbox_tier, device, directory, issue_id, weights_sha256 FROM run"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(run_ids)),),
        ).fetchall()
        metrics = connection.execute(
            "SELECT run_id, name, value FROM metric"
            " WHERE run_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(run_ids)),),
        ).fetchall()
    finally:
        connection.close()
    figures: dict[str, dict[str, float]] = {}
    for metric in metrics:
        figures.setdefault(metric["run_id"], {})[metric["name"]] = metric["value"]
    found = {row["id"]: {**dict(row), "metrics": figures.get(row["id"], {})} for row in rows}
    return [found[run_id] for run_id in run_ids if run_id in found]


def failed_runs(runs: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return the runs without a valid score."""
    return [run for run in runs if run["outcome"] != "completed"]
