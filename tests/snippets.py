"""Check the types of the code on the pages as a user's project would; part of `make lint`."""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.pages_of_docs import PAGES, ROOT, blocks

with tempfile.TemporaryDirectory() as folder:
    for page in PAGES:
        code = "\n\n".join(blocks(page.relative_to(ROOT)))
        (Path(folder) / f"{page.stem.replace('-', '_')}.py").write_text(code)
    command = [str(Path(sys.executable).parent / "pyright"), "--pythonpath", sys.executable, folder]
    sys.exit(subprocess.call(command))
