"""Causal depthwise convolution."""

from arcfusion.kernels.conv.api import causal_conv1d
from arcfusion.kernels.conv.step import causal_conv1d_step

__all__ = ["causal_conv1d", "causal_conv1d_step"]
