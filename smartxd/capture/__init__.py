"""The capture process: drains the tracers' maps into the local store."""
