"""What a run is asked to do, and what came of it, as values that travel as JSON."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from arcfusion.core.errors import BadInputError
from arcfusion.core.sandbox.limits import MEBIBYTE, Limits
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.training.config import TrainingConfig

Outcome = Literal["completed", "diverged", "killed", "crashed", "leak", "invalid"]

RUN_FILE = "run.json"
MODEL_FILE = "model.py"
ARCHIVE_FILE = "arcfusion.zip"
RESULT_FILE = "result.json"
STATUS_FILE = "status.json"
LOCK_FILE = "run.lock"
CURVE_FILE = "curve.jsonl"
ATTEMPTS_FILE = "attempts.jsonl"
CHILD_LOG = "child.log"
SUPERVISOR_LOG = "supervisor.log"
WORK_DIRECTORY = "work"

# Generous: they end what hangs or floods. The budget of a training is its steps, in the protocol.
DEFAULT_LIMITS = Limits(
    wall_s=24 * 3600,
    cpu_s=96 * 3600,
    memory_bytes=8192 * MEBIBYTE,
    disk_bytes=4096 * MEBIBYTE,
    output_bytes=4 * MEBIBYTE,
)


class RunFileError(BadInputError):
    """A file of the run's directory is not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One training and its score.

    Attributes:
        run_id: names the run.
        model_name: names its checkpoints.
        vocab_size: argument of the model file's `build`, and V of the logits.
        d_model: argument of `build`; None leaves the file's default.
        n_layers: likewise.
        seed: of the initial weights, the order of the data, and dropout.
        training: the settings.
        tier: the operator's demand; where less than it holds the run is refused.
        harness_version: of the code that made the directory.
        limits: of the confined process tree; `processes` is raised to what the runner needs.
        stall_s: a training that says nothing for so long hangs, and is killed.
    """

    run_id: str
    model_name: str
    vocab_size: int
    d_model: int | None
    n_layers: int | None
    seed: int
    training: TrainingConfig
    tier: Tier
    harness_version: str
    limits: Limits = DEFAULT_LIMITS
    stall_s: float = 900.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "tier", Tier(self.tier))

    @property
    def checkpoint_label(self) -> str:
        """The model's name as its checkpoints carry it: letters, digits, `.`, `_` and `-`."""
        return "m-" + re.sub(r"[^A-Za-z0-9._-]", "_", self.model_name)[:60]

    def to_json(self) -> str:
        """The text of `run.json`."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "RunRequest":
        """Read `to_json` back.

        Raises:
            RunFileError: the text is not a request.
            BadInputError: its training settings or limits are not usable.
        """
        values = _read_fields(text, cls, name=RUN_FILE)
        try:
            return cls(
                **values
                | {
                    "training": TrainingConfig.from_dict(values["training"]),
                    "limits": Limits.from_dict(values["limits"]),
                }
            )
        except (TypeError, ValueError) as error:
            raise RunFileError(f"{RUN_FILE} is not a request: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveSample:
    """A point of the run's curve.

    Attributes:
        step: optimizer steps done.
        train_loss: nats per token of the step's batch, as the child claims, if it did.
        val_loss: nats per token over the whole validation split, by the trusted evaluator.
        train_seconds: by the supervisor's clock.
    """

    step: int
    train_loss: float | None
    val_loss: float | None
    train_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended; written once, last.

    Attributes:
        run_id: of the request.
        outcome: "completed" has a score; "leak" and "invalid" were trained but may not be ranked.
        reason: why it is not completed; "" when it is.
        steps: optimizer steps done.
        tokens: tokens trained on.
        train_seconds: training alone, by the supervisor's clock.
        tokens_per_s: tokens / train_seconds; 0.0 before the first step.
        val_loss_nats: mean cross entropy over the whole validation split, nats per token, by the
            trusted evaluator; None when there is no valid score.
        bits_per_byte: the same in bits per byte of text; None likewise.
        perplexity: exp(val_loss_nats); None likewise.
        curve: samples in the order of steps.
        parameters: trainable ones, tied ones once, as the child counts; None before the build.
        weights_sha256: of the scored weights; None without.
        sandbox_tier: what held while the code ran.
        sandbox_detail: how the tier was found.
        peak_memory_bytes: largest resident size of a process of the tree.
        wall_seconds: from the supervisor's start to the result, this attempt.
        device: "cpu" or the GPU's name, as the child says.
        torch_version: likewise.
        causality_gap: largest relative change of a logit when only later tokens changed; None
            unless measured.
        reported: numbers that the child claims; kept apart, never ranked.
        attempts: supervisors that worked on the run.
    """

    run_id: str
    outcome: Outcome
    reason: str
    steps: int
    tokens: int
    train_seconds: float
    tokens_per_s: float
    val_loss_nats: float | None
    bits_per_byte: float | None
    perplexity: float | None
    curve: tuple[CurveSample, ...]
    parameters: int | None
    weights_sha256: str | None
    sandbox_tier: Tier
    sandbox_detail: str
    peak_memory_bytes: int
    wall_seconds: float
    device: str | None
    torch_version: str | None
    causality_gap: float | None
    reported: Mapping[str, float]
    attempts: int

    def to_json(self) -> str:
        """The text of `result.json`."""
        return json.dumps(asdict(self), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "RunResult":
        """Read `to_json` back.

        Raises:
            RunFileError: the text is not a result.
        """
        values = _read_fields(text, cls, name=RESULT_FILE)
        if values["outcome"] not in get_args(Outcome):
            raise RunFileError(f"{RESULT_FILE} has the outcome {values['outcome']!r}")
        try:
            curve = tuple(CurveSample(**sample) for sample in values["curve"])
            return cls(**values | {"curve": curve, "sandbox_tier": Tier(values["sandbox_tier"])})
        except (TypeError, ValueError) as error:
            raise RunFileError(f"{RESULT_FILE} is not a result: {error}") from error


def read_request(run_dir: Path) -> RunRequest:
    """Read a run's request.

    Raises:
        RunFileError: the directory holds none, or it is damaged.
    """
    try:
        text = (run_dir / RUN_FILE).read_text(encoding="utf-8")
    except OSError as error:
        raise RunFileError(f"no run in {str(run_dir)!r}: {error.strerror}") from error
    return RunRequest.from_json(text)


def _read_fields(text: str, kind: type, *, name: str) -> dict[str, Any]:
    # Any: the constructors that get the values check them
    try:
        values = json.loads(text)
    except ValueError as error:
        raise RunFileError(f"{name} is not JSON: {error}") from error
    expected = {field.name for field in fields(kind)}
    if not isinstance(values, dict) or set(values) != expected:
        raise RunFileError(f"{name} does not have the fields {', '.join(sorted(expected))}")
    return values
