"""Files that somebody else wrote: what is wrong with one is said in one line."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def readable(name: str, kind: str) -> Iterator[None]:
    """Turn what the libraries and the system say of a damaged file, each its own way, into one line."""
    try:
        yield
    except Exception as error:  # MemoryError too: a header may promise anything
        said = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raise ValueError(f"{name} must be a readable {kind} ({said.splitlines()[0]}); check it") from None
