"""The component library: one file a component, and these explicit tables of them.

A new component is one file with an options model, a module and `COMPONENT`, and one line here.
Nothing is imported before it is asked for: the components' files import torch.
"""

import importlib
from typing import cast

from arcfusion.core.blocks.component import BlockOptions, Component

MIXERS: dict[str, str] = {
    "mha": "arcfusion.core.blocks.mha:COMPONENT",
    "gqa": "arcfusion.core.blocks.gqa:COMPONENT",
    "mqa": "arcfusion.core.blocks.mqa:COMPONENT",
    "linear_attention": "arcfusion.core.blocks.linear_attention:COMPONENT",
    "mamba1": "arcfusion.core.blocks.mamba1:COMPONENT",
}
CHANNELS: dict[str, str] = {
    "mlp": "arcfusion.core.blocks.mlp:COMPONENT",
    "swiglu": "arcfusion.core.blocks.swiglu:COMPONENT",
}
NORMS: dict[str, str] = {
    "rmsnorm": "arcfusion.core.blocks.rmsnorm:COMPONENT",
    "layernorm": "arcfusion.core.blocks.layernorm:COMPONENT",
}
POSITIONS: dict[str, str] = {
    "rope": "arcfusion.core.blocks.rope:COMPONENT",
    "learned": "arcfusion.core.blocks.learned_position:COMPONENT",
}


def component_names() -> list[str]:
    """Return the names of all components: mixers, channels, norms, positions, in table order."""
    return [*MIXERS, *CHANNELS, *NORMS, *POSITIONS]


def load_component(name: str) -> Component[BlockOptions]:
    """Import a component's file and return its record.

    Raises:
        KeyError: there is no component of this name (ArchSpec checks names first).
    """
    module_name, _, attribute = {**MIXERS, **CHANNELS, **NORMS, **POSITIONS}[name].partition(":")
    # A record's functions take the options that its own `options` class makes.
    return cast("Component[BlockOptions]", getattr(importlib.import_module(module_name), attribute))
