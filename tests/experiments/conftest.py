"""A lab whose runs are written by hand: measured figures without a training."""

import json
import shutil
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from arcfusion.core import store
from arcfusion.core.home import Home, new_home
from arcfusion.core.ids import short_id
from arcfusion.core.sandbox.strength import Tier
from arcfusion.experiments import comparisons, insights, registry
from arcfusion.experiments.protocol import Protocol
from arcfusion.experiments.runner.request import RunResult

DATA_SHA256 = "ab" * 32


def make_result(
    run_id, *, outcome="completed", bits_per_byte=2.5, seconds=4.0, reason="", **fields
):
    """A result as the runner writes it."""
    values = {
        "run_id": run_id,
        "outcome": outcome,
        "reason": reason,
        "steps": 120,
        "tokens": 122_880,
        "train_seconds": seconds,
        "tokens_per_s": 122_880 / seconds,
        "val_loss_nats": None if bits_per_byte is None else bits_per_byte * 0.693,
        "bits_per_byte": bits_per_byte,
        "perplexity": None if bits_per_byte is None else 2.0**bits_per_byte,
        "curve": (),
        "parameters": 200_000,
        "weights_sha256": "cd" * 32,
        "sandbox_tier": Tier("good"),
        "sandbox_detail": "",
        "peak_memory_bytes": 300_000_000,
        "wall_seconds": seconds + 2,
        "device": "cpu",
        "torch_version": "2.13",
        "causality_gap": 0.0,
        "reported": {},
        "attempts": 1,
    }
    return RunResult(**(values | fields))


@dataclass
class Lab:
    home: Home
    protocol: Protocol
    clock: float = 1000.0
    specs: dict = field(default_factory=dict)

    @property
    def key(self):
        return self.protocol.key()

    def now(self):
        self.clock += 1.0
        return self.clock

    def session(self):
        return store.session(self.home)

    def reader(self):
        return closing(store.connect(self.home))

    def model(self, name, **fields):
        values = {"name": name, "fingerprint": f"fp-{name}", "parameters": 200_000}
        return registry.ModelFacts(**(values | fields))

    def add_run(self, name, seed, bits_per_byte=2.5, **fields):
        """Plan, start and settle one run; returns its id."""
        return self.add_scores(name, {seed: bits_per_byte}, **fields)[0]

    def add_scores(self, name, scores, *, protocol=None, replica=0, **result):
        """Plan, start and settle a run for each seed, with its bits per byte; returns the ids."""
        spec = self.specs.get(name)
        run_ids = []
        with self.session() as session:
            architecture_id = self._add_architecture(session, name, spec) if spec else None
            for seed, bits_per_byte in scores.items():
                run, _ = registry.plan_run(
                    session,
                    self.model(name, architecture_id=architecture_id),
                    protocol=protocol or self.protocol,
                    seed=seed,
                    replica=replica,
                    now=self.now(),
                )
                registry.start_run(session, run.id, directory=f"runs/{run.id}", now=self.now())
                outcome = make_result(run.id, bits_per_byte=bits_per_byte, **result)
                registry.settle_run(session, run.id, outcome, now=self.now())
                run_ids.append(run.id)
        return run_ids

    def compare(self, baseline, candidate, **fields):
        """Compare by name and record the insight; returns both rows."""
        with self.session() as session:
            comparison = comparisons.compare_architectures(
                session,
                baseline=f"fp-{baseline}",
                candidate=f"fp-{candidate}",
                protocol_key=self.key,
                now=self.now(),
                **fields,
            )
            insight = insights.record_insight(session, comparison, now=self.now())
            return comparison, insight

    def _add_architecture(self, session, name, spec):
        from arcfusion.core.library.tables import Architecture

        architecture_id = short_id("arch", spec.digest())
        session.merge(
            Architecture(
                id=architecture_id,
                name=name,
                spec=json.dumps(spec.canonical()),
                fingerprint=f"fp-{name}",
                created_at=1.0,
            )
        )
        session.flush()
        return architecture_id


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database as `store.create` makes it, made once: the migrations take 0.3 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ARCFUSION_HOME", raising=False)
        home = new_home(tmp_path_factory.mktemp("empty"))
    store.create(home)
    return home.db_path


@pytest.fixture
def lab(tmp_path, monkeypatch, empty_database, on_database):
    """A fresh lab; commands run in its directory find it."""
    for name in ("ARCFUSION_HOME", "ARCFUSION_DB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    home = new_home(tmp_path)
    shutil.copy(empty_database, home.db_path)
    protocol = Protocol.load("smoke").resolve(DATA_SHA256, device_class="cpu:test")
    return Lab(on_database(home), protocol)


@pytest.fixture
def result_of():
    """The maker of run results."""
    return make_result
