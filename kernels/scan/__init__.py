"""The selective scan of Mamba-1."""

from arcfusion.kernels.scan.api import selective_scan
from arcfusion.kernels.scan.step import selective_scan_step

__all__ = ["selective_scan", "selective_scan_step"]
