"""Run by the reload tool's own Python: it reads the tool, waits for its arguments, and then is the tool.

The arguments come on standard input, a NUL between them. Where it ends without any, nobody asks any more.
"""

import os
import sys
from pathlib import Path

script = Path(sys.argv[1])
sys.path[0] = str(script.parent)  # Where the tool would look, and not where this file is.
code = compile(script.read_bytes(), script, "exec", dont_inherit=True)
exec(code, {"__name__": "reload", "__file__": str(script)})  # noqa: S102 (an import, for what it imports)
if said := sys.stdin.buffer.read():
    sys.argv = [str(script), *(os.fsdecode(word) for word in said.split(b"\0"))]
    exec(code, {"__name__": "__main__", "__file__": str(script)})  # noqa: S102 (what it is here for)
