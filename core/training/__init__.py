"""Training one model in one process: config, schedule, optimizer, checkpoints, curve, trainer.

These files travel in a run's directory, so nothing here imports more than the standard library,
numpy, torch, safetensors and `core.errors`.
"""
