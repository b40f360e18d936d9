"""The identity of a built model: one name for all the ways to write the same net."""

from arcfusion.core.identity.api import fingerprint

__all__ = ["fingerprint"]
