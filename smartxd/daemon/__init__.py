"""The daemon: the only place that joins source, desired, planes and store."""
