"""Where specs come from: a Git repo whose commits are pinned, or a plain folder."""
