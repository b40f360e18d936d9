"""Named architectures, one YAML file each."""
