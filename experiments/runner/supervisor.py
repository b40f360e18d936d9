"""The supervisor of a run: trusted, without torch, it owns data, clock, loss and result.

One process a run, detached from whoever launched it. It holds the run's lock while it lives, writes
the heartbeat, starts the confined child, and makes the score. Whatever happens to the child is a
recorded result; when it happens to the supervisor itself, the next launch goes on from the last
checkpoint.
"""

import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from arcfusion.core.data.dataset import ValidationWindows, open_prepared, validation_windows
from arcfusion.core.errors import ArcFusionError, BadInputError, ExitCode
from arcfusion.core.sandbox.tier import require_tier
from arcfusion.core.sandbox.watchdog import Usage
from arcfusion.experiments.runner import record
from arcfusion.experiments.runner.causality import (
    check_causality,
    choose_windows,
)
from arcfusion.experiments.runner.channel import ChannelClosedError, ProtocolViolationError
from arcfusion.experiments.runner.confinement import Confinement, Worker
from arcfusion.experiments.runner.conversation import (
    Claims,
    Listener,
    hear_training,
    score_all,
    use_scorer,
)
from arcfusion.experiments.runner.ending import RunEndedError, RunInterruptedError
from arcfusion.experiments.runner.evaluator import Score, Serve
from arcfusion.experiments.runner.request import (
    CurveSample,
    RunRequest,
    read_request,
)
from arcfusion.experiments.runner.stopwatch import TrainingStopwatch
from arcfusion.experiments.runner.verdict import Verdict, compose_result
from arcfusion.experiments.runner.weights import FinalWeights, find_final_weights

_HEARTBEAT_S = 0.5
_INTERRUPT_GRACE_S = 20.0
_CURVE_SAMPLES = 200
T = TypeVar("T")


def supervise_run(run_dir: Path) -> int:
    """Work on the run until it has a result or is interrupted; the caller holds its lock.

    Returns:
        The exit status: done also when the outcome is a failure of the model, which is a result.

    Raises:
        ArcFusionError: the run can not be worked on (damaged files, a sandbox that is too weak).
    """
    if record.read_result(run_dir) is not None:
        return ExitCode.DONE
    request = read_request(run_dir)
    supervisor = Supervisor(run_dir, request)
    try:
        return supervisor.run()
    except ArcFusionError as error:
        supervisor.beat("failed", reason=str(error))
        raise


class Supervisor:
    """The state of one attempt at a run."""

    def __init__(self, run_dir: Path, request: RunRequest) -> None:
        self._run_dir = run_dir
        self._request = request
        self._started_s = time.monotonic()
        self._state: record.State = "starting"
        self._tier = ""
        self._loss: float | None = None
        self._claims = Claims()
        self._curve: list[CurveSample] = []
        self._validated: dict[int, float] = {}
        self._is_first_step = True
        config = request.training
        every = (config.validate_every, config.checkpoint_every)
        self._max_validations = config.steps // config.validate_every if every[0] else 0
        self._stopwatch = TrainingStopwatch(
            free_rests=sum(config.steps // n for n in every if n) + 3
        )
        self._generator = np.random.default_rng(secrets.randbits(128))
        self._confinement: Confinement | None = None
        self._trainer: Worker | None = None
        self._interrupted_s: float | None = None
        self._beaten_s = 0.0
        self._beating = threading.Lock()
        self._heard_s = self._started_s
        self._is_stalled = False
        self._memory_bytes = 0

    def run(self) -> int:
        """See `supervise_run`."""
        report = require_tier(self._request.tier)
        self._tier = report.tier.value
        prepared = open_prepared(self._run_dir)
        if self._request.vocab_size < prepared.facts.vocab_size:
            raise BadInputError(
                f"vocab_size is {self._request.vocab_size}: the data has ids up to "
                f"{prepared.facts.vocab_size - 1}"
            )
        for part in ("train", "validation"):
            prepared.verify(part)
        # copied out of the file: what happens to it later changes nothing
        windows = validation_windows(prepared, self._request.training.context)
        attempt = record.append_attempt(self._run_dir, pid=os.getpid(), tier=self._tier)
        with (
            _on_signals(self._interrupt),
            Confinement(
                self._run_dir,
                limits=self._request.limits,
                tier=report.tier,
                threads=self._request.training.threads,
                on_tick=self._on_tick,
            ) as confinement,
        ):
            self._confinement = confinement
            self.beat("starting")
            if self._interrupted_s is not None:
                # the signal came while there was nothing to end
                confinement.cancel()
            try:
                verdict = self._judge(confinement, windows)
            except RunInterruptedError:
                confinement.end()
                self.beat("interrupted", reason="it was asked to stop; launch it to go on")
                return ExitCode.INTERRUPTED
            except RunEndedError as error:
                verdict = Verdict(outcome=error.outcome, reason=error.reason)
            ending = confinement.end()
        result = compose_result(
            self._request,
            verdict,
            self._claims,
            curve=self._curve,
            train_seconds=self._stopwatch.seconds,
            sandbox=report,
            peak_memory_bytes=ending.peak_memory_bytes,
            wall_seconds=time.monotonic() - self._started_s,
            attempts=attempt,
        )
        record.write_result(self._run_dir, result)
        self.beat("done")
        return ExitCode.DONE

    def beat(self, state: record.State, *, reason: str = "") -> None:
        """Write the heartbeat; the watchdog's thread and the main one take turns."""
        with self._beating:
            self._write_beat(state, reason)

    def _write_beat(self, state: record.State, reason: str) -> None:
        self._state = state
        self._beaten_s = time.monotonic()
        status = record.RunStatus(
            state=state,
            step=self._claims.steps,
            steps=self._request.training.steps,
            loss=self._loss,
            pid=os.getpid(),
            updated_at=record.now_text(),
            reason=reason,
            memory_bytes=self._memory_bytes,
            sandbox_tier=self._tier,
        )
        record.write_status(self._run_dir, status)

    def _judge(self, confinement: Confinement, windows: ValidationWindows) -> Verdict:
        """Train, score, check."""
        try:
            self._train(confinement, windows)
            if self._claims.status != "completed":
                return self._end_without_score()
            self._state = "scoring"
            weights = find_final_weights(self._run_dir, self._request.checkpoint_label)
            return self._score(confinement, windows, weights)
        except RunEndedError:
            if self._interrupted_s is not None:
                raise RunInterruptedError from None
            if self._is_stalled:
                reason = f"stall limit: it said nothing for {self._request.stall_s:g} s"
                raise RunEndedError("killed", reason) from None
            raise

    def _train(self, confinement: Confinement, windows: ValidationWindows) -> None:
        trainer = confinement.fork("train")
        self._trainer = trainer
        if self._interrupted_s is not None:
            confinement.cancel()
        self._heard_s = time.monotonic()
        self._stopwatch.arm()
        self._state = "training"

        def validate(step: int) -> None:
            try:
                self._validated[step] = self._use_scorer(
                    confinement,
                    lambda serve: self._score_all(serve, windows, f"step {step}").loss_nats,
                    directory="validation",
                    name="validation",
                )
            except RunEndedError as error:
                # a model without a valid score now may have one at the end
                if error.outcome != "invalid":
                    raise
            finally:
                self._heard_s = time.monotonic()

        listener = Listener(on_step=self._on_step, on_validate=validate)
        try:
            hear_training(
                trainer,
                self._stopwatch,
                listener,
                self._claims,
                steps=self._request.training.steps,
                max_validations=self._max_validations,
            )
        except ChannelClosedError as error:
            raise confinement.explain(trainer) from error
        except ProtocolViolationError as error:
            raise RunEndedError("invalid", str(error)) from error
        finally:
            self._trainer = None
            trainer.channel.close()
        # from here on nobody changes the weights
        confinement.signal(trainer, signal.SIGKILL)
        if self._claims.steps and self._is_first_step:
            # it was finished before
            self._resume_at(self._claims.steps)

    def _end_without_score(self) -> Verdict:
        if self._claims.status == "diverged":
            return Verdict(outcome="diverged", reason=self._claims.reason)
        if self._interrupted_s is None:
            # a shutdown signals all processes, and this one's turn may come last
            time.sleep(1.0)
        if self._interrupted_s is None:
            return Verdict(outcome="crashed", reason="the training stopped by itself")
        raise RunInterruptedError

    def _score(
        self, confinement: Confinement, windows: ValidationWindows, weights: FinalWeights
    ) -> Verdict:
        vocab_size = self._request.vocab_size
        n_windows, context = windows.inputs.shape
        keep = choose_windows(n_windows, context, vocab_size, self._generator)
        place = {"directory": "checkpoints", "name": weights.name}
        score = self._use_scorer(
            confinement,
            lambda serve: self._score_all(serve, windows, weights.sha256, keep),
            **place,
        )
        causality = self._use_scorer(
            confinement,
            lambda serve: check_causality(
                serve,
                windows.inputs,
                score.kept,
                vocab_size=vocab_size,
                generator=self._generator,
            ),
            **place,
        )
        problem = causality.find_problem()
        if problem is not None:
            return Verdict(outcome="leak", reason=problem, weights=weights, causality=causality)
        return Verdict(outcome="completed", score=score, weights=weights, causality=causality)

    def _score_all(
        self,
        serve: Serve,
        windows: ValidationWindows,
        order_seed: str,
        keep: frozenset[int] = frozenset(),
    ) -> Score:
        return score_all(
            serve,
            windows,
            vocab_size=self._request.vocab_size,
            order_seed=order_seed,
            keep=keep,
        )

    def _use_scorer(
        self, confinement: Confinement, task: Callable[[Serve], T], *, directory: str, name: str
    ) -> T:
        def hear_and_do(serve: Serve) -> T:
            def serve_and_hear(ids_BT: NDArray[np.int64]) -> NDArray[np.float32]:
                logits_BTV = serve(ids_BT)
                self._heard_s = time.monotonic()
                return logits_BTV

            return task(serve_and_hear)

        self._heard_s = time.monotonic()
        return use_scorer(
            confinement,
            hear_and_do,
            directory=directory,
            name=name,
            vocab_size=self._request.vocab_size,
        )

    def _on_step(self, step: int, loss: float | None) -> None:
        self._heard_s = time.monotonic()
        if self._is_first_step:
            self._resume_at(step - 1)
        self._loss = loss
        config = self._request.training
        last = self._curve[-1].step if self._curve else -config.steps
        is_due = step == config.steps or step - last >= max(1, config.steps // _CURVE_SAMPLES)
        every = config.checkpoint_every
        if is_due or step in self._validated or (every > 0 and step % every == 0):
            sample = CurveSample(
                step=step,
                train_loss=loss,
                val_loss=self._validated.get(step),
                train_seconds=self._stopwatch.seconds,
            )
            self._curve.append(sample)
            record.append_sample(self._run_dir, sample)

    def _resume_at(self, step: int) -> None:
        """Take up the curve and the training time of earlier attempts."""
        self._is_first_step = False
        self._curve = record.restart_curve(self._run_dir, resumed_step=step)
        if self._curve:
            self._stopwatch.resume_at(self._curve[-1].train_seconds)

    def _is_silent(self) -> bool:
        return time.monotonic() - self._heard_s > self._request.stall_s

    def _on_tick(self, usage: Usage) -> None:
        """Run by the watchdog's thread at every look."""
        self._memory_bytes = usage.memory_bytes
        now_s = time.monotonic()
        if now_s - self._beaten_s >= _HEARTBEAT_S:
            self.beat(self._state)
        asked_s = self._interrupted_s
        if asked_s is not None and now_s - asked_s > _INTERRUPT_GRACE_S:
            self._cancel()
        if self._state in {"training", "scoring"} and self._is_silent():
            self._is_stalled = True
            self._cancel()

    def _cancel(self) -> None:
        if self._confinement is not None:
            self._confinement.cancel()

    def _interrupt(self) -> None:
        """A signal asks to stop: a training may write its checkpoint, all else ends now."""
        self._interrupted_s = self._interrupted_s or time.monotonic()
        if self._confinement is None:
            return
        if self._trainer is None:
            self._confinement.cancel()
        else:
            self._confinement.signal(self._trainer, signal.SIGTERM)


@contextlib.contextmanager
def _on_signals(action: Callable[[], None]) -> Iterator[None]:
    """Do something at SIGTERM and SIGINT meanwhile."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: action()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
