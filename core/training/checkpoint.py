"""Checkpoints on disk: a safetensors file and a JSON sidecar that makes it count.

`ckpt_{model}_step{N}` holds what a training needs to go on, `ckpt_{model}_final` the weights alone.
Each file is written beside its place, synced and renamed, the sidecar last; the sidecar holds the
SHA-256 of the tensors and of itself. So a kill leaves the previous checkpoint or the new one, and
damage to either file is found when it is read.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load, save_file

from arcfusion.core.errors import ArcFusionError, BadInputError

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

_FORMAT = 1
_TENSORS = ".safetensors"
_SIDECAR = ".json"
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class CheckpointNotFoundError(ArcFusionError):
    """There is no such checkpoint."""


class DamagedCheckpointError(ArcFusionError):
    """The checkpoint's files are not what was written."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read and found whole.

    Attributes:
        name: file name without a suffix.
        tensors: by name, on the CPU.
        record: what the writer put into the sidecar.
        sha256: SHA-256 of the tensor file.
    """

    name: str
    tensors: dict[str, torch.Tensor]
    record: dict[str, Json]
    sha256: str


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest whole step checkpoint, and what was found damaged before it.

    Attributes:
        checkpoint: None when there is none.
        damaged: one line a damaged checkpoint, the newest first.
    """

    checkpoint: Checkpoint | None
    damaged: tuple[str, ...]


def checkpoint_name(model_name: str, step: int | None) -> str:
    """Return the file name without a suffix; None is the final checkpoint.

    Raises:
        BadInputError: the model's name is not letters, digits, `.`, `_` and `-`.
    """
    if not _MODEL_NAME.fullmatch(model_name):
        raise BadInputError(
            f"model name {model_name!r}: allowed are letters, digits, '.', '_' and '-', and the"
            " first is a letter or digit"
        )
    return f"ckpt_{model_name}_final" if step is None else f"ckpt_{model_name}_step{step}"


def save_checkpoint(
    directory: Path,
    name: str,
    tensors: Mapping[str, torch.Tensor],
    record: Mapping[str, Json],
) -> str:
    """Write a checkpoint; when this returns it survives a power cut.

    Returns:
        SHA-256 of the tensor file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / (name + _TENSORS)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(_independent(tensors), temporary)
    sha256 = _hash_and_sync(temporary)
    temporary.replace(path)
    sync_directory(directory)
    body: dict[str, Json] = {
        "format": _FORMAT,
        "name": name,
        "tensors_sha256": sha256,
        "record": dict(record),
    }
    body["sidecar_sha256"] = _digest(body)
    sidecar = directory / (name + _SIDECAR)
    temporary = sidecar.with_name(f".{sidecar.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(body, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(sidecar)
    sync_directory(directory)
    return sha256


def load_checkpoint(directory: Path, name: str) -> Checkpoint:
    """Read a checkpoint and check every byte of it.

    Raises:
        CheckpointNotFoundError: there is no sidecar of that name.
        DamagedCheckpointError: a file is missing, cut, changed or of another format.
    """
    body = _read_sidecar(directory / (name + _SIDECAR))
    claimed = body.pop("sidecar_sha256", None)
    if claimed != _digest(body) or body.get("format") != _FORMAT or body.get("name") != name:
        raise DamagedCheckpointError(f"{name}: the sidecar is not what was written")
    try:
        data = (directory / (name + _TENSORS)).read_bytes()
    except OSError as error:
        raise DamagedCheckpointError(
            f"{name}: can not read the tensors: {error.strerror}"
        ) from error
    sha256 = hashlib.sha256(data).hexdigest()
    record = body["record"]
    if sha256 != body["tensors_sha256"] or not isinstance(record, dict):
        raise DamagedCheckpointError(f"{name}: the tensors are not what was written")
    try:
        tensors = load(data)
    except safetensors.SafetensorError as error:
        raise DamagedCheckpointError(f"{name}: {error}") from error
    return Checkpoint(name, tensors, record, sha256)


def list_steps(directory: Path, model_name: str) -> list[int]:
    """Return the steps that have a sidecar, ascending."""
    pattern = re.compile(re.escape(f"ckpt_{model_name}_step") + r"(\d+)" + re.escape(_SIDECAR))
    if not directory.is_dir():
        return []
    matches = (pattern.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def find_newest(directory: Path, model_name: str) -> Newest:
    """Return the newest whole step checkpoint; damaged ones are reported and passed over."""
    damaged: list[str] = []
    for step in reversed(list_steps(directory, model_name)):
        try:
            checkpoint = load_checkpoint(directory, checkpoint_name(model_name, step))
        except DamagedCheckpointError as error:
            damaged.append(str(error))
        else:
            return Newest(checkpoint, tuple(damaged))
    return Newest(None, tuple(damaged))


def prune_checkpoints(directory: Path, model_name: str, keep: int) -> None:
    """Delete all but the newest step checkpoints, sidecars first."""
    for step in list_steps(directory, model_name)[:-keep]:
        name = checkpoint_name(model_name, step)
        (directory / (name + _SIDECAR)).unlink(missing_ok=True)
        (directory / (name + _TENSORS)).unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make renames in the directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _independent(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return contiguous tensors of which no two share memory (tied weights do)."""
    seen: set[int] = set()
    result: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        detached = tensor.detach().contiguous()
        storage = detached.untyped_storage()
        is_whole = storage.nbytes() == detached.numel() * detached.element_size()
        is_shared = storage.data_ptr() in seen or not is_whole
        result[name] = detached.clone() if is_shared else detached
        seen.add(storage.data_ptr())
    return result


def _hash_and_sync(path: Path) -> str:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_sidecar(path: Path) -> dict[str, Json]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointNotFoundError(
            f"no checkpoint {path.stem!r} in {str(path.parent)!r}"
        ) from error
    except (OSError, ValueError) as error:
        raise DamagedCheckpointError(f"{path.stem}: can not read the sidecar: {error}") from error
    if not isinstance(body, dict):
        raise DamagedCheckpointError(f"{path.stem}: the sidecar is not what was written")
    return body


def _digest(body: Mapping[str, Json]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
