"""Text, tokens and batches, with the standard library and numpy alone.

These files travel in a run's directory, so nothing here imports torch or the rest of ArcFusion
except `core.errors`.
"""
