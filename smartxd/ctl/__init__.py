"""``smartxctl``: what an operator types; a file per verb."""
