"""Provenance of results: versions, commit, sources, device."""

import functools
import hashlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_RECORDED = ("jax", "jaxlib", "numpy", "scipy", "optax")


def provenance() -> dict[str, Any]:
    """Provenance of results: versions, git commit, digest of the sources, device, processor, cores used."""
    import jax

    from ctflow._base.resources import processors

    return {
        "versions": {"python": platform.python_version(), **versions()},
        "git": git_commit(),
        "sources": sources(),
        "device": str(jax.devices()[0].device_kind),
        "processor": platform.machine(),
        "cores": processors(),
    }


def versions() -> dict[str, str]:
    """Installed versions of the packages that can change a result."""
    from ctflow import __version__

    found = {"ctflow": __version__}  # an editable installation's metadata may be those of an earlier version
    for name in _RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@functools.cache
def sources() -> str:
    """First 16 hex digits of the SHA-256 of this package's Python files."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def git_commit() -> str | None:
    """The git commit of the source tree that this package runs from, or None; read from the .git files."""
    root = Path(__file__).resolve().parents[2] / ".git"
    try:
        if root.is_file():  # a worktree
            root = (root.parent / root.read_text().removeprefix("gitdir:").strip()).resolve()
        head = (root / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        name = head.removeprefix("ref:").strip()
        shared = root / (root / "commondir").read_text().strip() if (root / "commondir").exists() else root
        for folder in (root, shared):
            if (folder / name).is_file():
                return (folder / name).read_text().strip()
        packed = (shared / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    except (OSError, UnicodeDecodeError):
        return None
