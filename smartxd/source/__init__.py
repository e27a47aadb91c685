"""Where specs come from: a Git repo whose commits are pinned, or a plain folder."""

import os

# Without git, GitPython must import all the same, so that the operator reads our line and not its traceback.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
