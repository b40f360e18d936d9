"""The component library: what is known, from whom, and what has been seen to work together."""
