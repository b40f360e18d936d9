"""The language model of an ArchSpec."""

from typing import cast

import torch
from torch import nn

from arcfusion.core.blocks import load_component
from arcfusion.core.blocks.learned_position import LearnedPosition
from arcfusion.core.blocks.mixer import Mixer
from arcfusion.core.network import Layer, Network
from arcfusion.core.spec import ArchSpec, Choice


def build_block(spec: ArchSpec, choice: Choice) -> nn.Module:
    """Build the module that a choice names, with its weights drawn from the global generator."""
    component = load_component(choice.kind)
    arguments = component.arguments(choice.parsed(), spec.d_model, spec)
    # The factories of mixers, channels and norms are nn.Module classes.
    return cast("nn.Module", component.load_factory()(**arguments))


def _build_layers(spec: ArchSpec) -> list[Layer]:
    norm = Choice(kind=spec.norm)
    return [
        Layer(
            mixer_norm=build_block(spec, norm),
            # A component of the category mixer makes a Mixer.
            mixer=cast("Mixer", build_block(spec, layer.mixer)),
            channel_norm=build_block(spec, norm),
            channel=build_block(spec, layer.channel),
        )
        for layer in spec.layers
    ]


class LanguageModel(Network):
    """The network that an ArchSpec describes.

    Args:
        spec: the architecture.
        seed: of the initial weights; the global random state is then left as it was. None draws
            from the global state.
    """

    def __init__(self, spec: ArchSpec, *, seed: int | None = None) -> None:
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            position = None
            if spec.position == "learned":
                position = LearnedPosition(spec.max_seq_len, spec.d_model)
            super().__init__(
                spec.vocab_size,
                spec.d_model,
                _build_layers(spec),
                build_block(spec, Choice(kind=spec.norm)),
                position=position,
                tied_head=spec.tied_head,
            )
        self.spec = spec
