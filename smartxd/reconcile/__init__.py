"""How a box converges: plans as data, ownership, conditions, backoff. No I/O, no clock."""
