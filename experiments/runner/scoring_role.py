"""The process that serves logits of saved weights: ids in, logits out, no label, nothing to write.

Shapes: B windows, T context, V vocabulary.
"""

from pathlib import Path

import numpy as np
import torch

from arcfusion.core.model_file import build_from_file
from arcfusion.core.sandbox import landlock, privilege
from arcfusion.core.training.checkpoint import load_checkpoint
from arcfusion.core.training.state import restore_model, seed_generators
from arcfusion.experiments.runner.channel import Channel
from arcfusion.experiments.runner.request import MODEL_FILE, WORK_DIRECTORY, read_request


def score(run_dir: Path, channel: Channel, restricted: bool) -> None:  # noqa: FBT001  # a Role
    """Build the model, load the weights that the supervisor names, and serve until it has enough.

    Args:
        run_dir: the run.
        channel: to the supervisor.
        restricted: whether Landlock holds; then this process loses its writable directory, so that
            what it sees reaches no later process.
    """
    if restricted:
        landlock.forbid_writing(privilege.load_libc())
    request = read_request(run_dir)
    torch.set_num_threads(request.training.threads)
    order = channel.receive()
    directory = run_dir / WORK_DIRECTORY / order.text("directory")
    checkpoint = load_checkpoint(directory, order.text("name"))
    seed_generators(request.seed)
    model = build_from_file(
        run_dir / MODEL_FILE,
        vocab_size=request.vocab_size,
        d_model=request.d_model,
        n_layers=request.n_layers,
    )
    restore_model(model, checkpoint.tensors)
    model.eval()
    channel.send("ready", {})
    while (message := channel.receive()).kind == "windows":
        assert message.array is not None
        with torch.inference_mode():
            logits_BTV = model(torch.from_numpy(message.array.astype(np.int64)))
        channel.send("logits", {}, logits_BTV.float().contiguous().numpy())
