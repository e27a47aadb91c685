"""What operators write: YAML documents, kinds, the fleet, the rules across boxes. No I/O."""
