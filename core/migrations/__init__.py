"""The schema's history, forward only. A new step is one file in versions/."""
