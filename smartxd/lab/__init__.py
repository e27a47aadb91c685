"""A fleet as network namespaces on one machine."""
