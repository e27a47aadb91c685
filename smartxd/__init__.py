"""smartxd: boxes that converge on one Git repo of specs, and show their traffic to a centre."""

__version__ = "0.1.0"
