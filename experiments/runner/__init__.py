"""One run: a directory that carries all it needs, a trusted supervisor, an untrusted child."""
