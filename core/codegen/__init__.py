"""ArchSpec to one readable PyTorch file that imports torch alone."""

from arcfusion.core.codegen.generator import generate

__all__ = ["generate"]
