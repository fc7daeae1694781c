"""Check the types of the code on the pages as a user's project would; part of `make lint`."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

with tempfile.TemporaryDirectory() as folder:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        (Path(folder) / f"{page.stem.replace('-', '_')}.py").write_text("\n\n".join(blocks))
    command = [str(Path(sys.executable).parent / "pyright"), "--pythonpath", sys.executable, folder]
    sys.exit(subprocess.call(command))
