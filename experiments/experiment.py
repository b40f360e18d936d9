"""An experiment: the runs that answer one question, each trained at most once.

Planned in the database first, then launched as detached processes, then settled from their result
files. Whoever conducts it may be killed at any moment: the trainings go on, and the next conductor
finds the same rows, waits for what runs, resumes what stopped, and launches what is missing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from arcfusion.core import store
from arcfusion.core.data.corpus import load_corpus
from arcfusion.core.data.dataset import Prepared, prepare
from arcfusion.core.data.tokenizer import ByteTokenizer
from arcfusion.core.home import Home
from arcfusion.core.ids import short_id
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.store import Guard
from arcfusion.experiments import registry
from arcfusion.experiments.candidate import Candidate
from arcfusion.experiments.launch import local
from arcfusion.experiments.protocol import Protocol, detect_device_class
from arcfusion.experiments.runner.bundle import create_run_directory
from arcfusion.experiments.runner.request import SUPERVISOR_LOG, RunRequest, RunResult

POLL_S = 0.05
MAX_LAUNCHES = (
    5  # of one run by one conductor: a supervisor that dies that often is a fault of ours
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What all runs of an experiment share besides the protocol.

    Attributes:
        parallel: trainings at the same time.
        tier: the weakest sandbox in which a model may be trained.
        guard: of every write to the database; `store.unguarded` for a person.
        fence: of the attempt on whose behalf it is conducted; 0 without an issue.
        issue_id: on whose behalf; None for a person at the command line.
        commit: of the lab's repository; None outside one.
        replica: 0, or the number of a deliberate replication.
    """

    parallel: int
    tier: Tier
    guard: Guard
    fence: int = 0
    issue_id: str | None = None
    commit: str | None = None
    replica: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an experiment is; given to the caller's `tick` several times a second."""

    total: int
    done: int
    running: tuple[str, ...]


@dataclass(slots=True)
class _Job:
    run_id: str
    candidate: Candidate
    seed: int
    directory: Path
    launches: int = 0


def prepare_protocol(home: Home, protocol: Protocol) -> tuple[Protocol, Prepared]:
    """Prepare the protocol's text once, in the cache; bind the protocol to it and this machine.

    Raises:
        NoTextError, TextTooShortError: there is no such text, or too little of it.
        ProtocolError: the protocol is bound to other data.
    """
    corpus = load_corpus(protocol.data, home.cache_path)
    identity = [corpus.sha256, protocol.tokenizer, protocol.n_tracks, protocol.validation_fraction]
    prepared = prepare(
        corpus,
        ByteTokenizer(),
        n_tracks=protocol.n_tracks,
        validation_fraction=protocol.validation_fraction,
        context=protocol.training.context,
        directory=home.cache_path / short_id("data", identity),
    )
    return protocol.resolve(corpus.sha256, device_class=detect_device_class()), prepared


def conduct(
    home: Home,
    candidates: Sequence[Candidate],
    protocol: Protocol,
    prepared: Prepared,
    seeds: Sequence[int],
    conditions: Conditions,
    *,
    tick: Callable[[Progress], None],
) -> list[str]:
    """Train each candidate with each seed, unless that was done before; return the run ids.

    Args:
        home: the lab.
        candidates: gated already.
        protocol: resolved by `prepare_protocol`.
        prepared: its data.
        seeds: the same for each candidate.
        conditions: how to run.
        tick: called while waiting; what it raises ends the wait and leaves the trainings alone.

    Raises:
        StaleFenceError: a later attempt has taken over.
        RunLaunchError: a supervisor can not be kept alive.
    """
    jobs = _plan(home, candidates, protocol, seeds, conditions)
    run_ids = [job.run_id for job in jobs]
    waiting = _start(home, jobs, protocol, prepared, conditions)
    total = len(waiting)
    running: list[_Job] = []
    while waiting or running:
        while waiting and len(running) < conditions.parallel:
            job = waiting.pop(0)
            _launch(job)
            running.append(job)
        tick(Progress(total, total - len(waiting) - len(running), tuple(j.run_id for j in running)))
        running = [job for job in running if not _advance(home, job, conditions.guard)]
        time.sleep(POLL_S)
    return run_ids


def cancel(home: Home, run_ids: Sequence[str]) -> None:
    """Stop the runs that are running; each keeps its checkpoint and can be resumed."""
    for run_id in run_ids:
        directory = home.runs_path / run_id
        if local.is_alive(directory):
            local.cancel(directory)


def _plan(
    home: Home,
    candidates: Sequence[Candidate],
    protocol: Protocol,
    seeds: Sequence[int],
    conditions: Conditions,
) -> list[_Job]:
    jobs = []
    now = time.time()
    with store.session(home, guard=conditions.guard) as session:
        for candidate in candidates:
            facts = registry.ModelFacts(
                name=candidate.name,
                fingerprint=candidate.fingerprint,
                architecture_id=candidate.architecture_id,
                code_sha256=candidate.code_sha256,
                parameters=candidate.parameters,
                flops_per_token=candidate.flops_per_token,
                state_bytes=candidate.state_bytes,
                kv_bytes=candidate.kv_bytes,
            )
            for seed in seeds:
                planned = registry.plan_run(
                    session,
                    facts,
                    protocol=protocol,
                    seed=seed,
                    now=now,
                    replica=conditions.replica,
                    issue_id=conditions.issue_id,
                    commit=conditions.commit,
                )
                directory = home.runs_path / planned.run.id
                jobs.append(_Job(planned.run.id, candidate, seed, directory))
    return jobs


def _start(
    home: Home,
    jobs: Sequence[_Job],
    protocol: Protocol,
    prepared: Prepared,
    conditions: Conditions,
) -> list[_Job]:
    """Mark the runs that are not done as running, and make their directories."""
    started = []
    with store.session(home, guard=conditions.guard) as session:
        for job in jobs:
            is_open = registry.start_run(
                session,
                job.run_id,
                directory=str(job.directory.relative_to(home.path)),
                now=time.time(),
                fence=conditions.fence,
                issue_id=conditions.issue_id,
            )
            if is_open:
                started.append(job)
    for job in started:
        if job.directory.exists():  # the same net under another name, or a predecessor's
            continue
        request = RunRequest(
            run_id=job.run_id,
            model_name=job.candidate.name,
            vocab_size=job.candidate.vocab_size,
            d_model=job.candidate.d_model,
            n_layers=job.candidate.n_layers,
            seed=job.seed,
            training=protocol.training,
            tier=conditions.tier,
            harness_version=protocol.harness_version,
        )
        create_run_directory(job.directory, request, job.candidate.source, prepared)
    return started


def _launch(job: _Job) -> None:
    if local.read_result(job.directory) is None and not local.is_alive(job.directory):
        local.launch(job.directory)
        job.launches += 1


def _advance(home: Home, job: _Job, guard: Guard) -> bool:
    """Settle the run when it has ended, relaunch it when its supervisor died; say if it is over."""
    result = local.read_result(job.directory)
    if result is not None:
        settle(home, job.run_id, result, guard=guard)
        return True
    if not local.is_alive(job.directory):
        if job.launches >= MAX_LAUNCHES:
            raise local.RunLaunchError(
                f"the supervisor of run {job.run_id} died {job.launches} times: "
                f"see {str(job.directory / SUPERVISOR_LOG)!r}"
            )
        _launch(job)
    return False


def settle(home: Home, run_id: str, result: RunResult, *, guard: Guard) -> bool:
    """Record how a run ended; False when that was done before."""
    with store.session(home, guard=guard) as session:
        return registry.settle_run(session, run_id, result, now=time.time())
