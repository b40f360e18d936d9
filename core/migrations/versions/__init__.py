"""One file a step: 0001 core, 0002 issues, 0003 experiments, 0004 agents."""
