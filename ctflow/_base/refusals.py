"""Errors of a command as one line on stderr and exit code 2. Does not import JAX."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def refusals(prefix: str, remedy: str = "") -> Iterator[None]:
    """Print bad input, and what memory or disk cannot hold, as one line, and exit with code 2.

    Args:
        prefix: begins the line.
        remedy: ends it where a file could not be read or written.
    """
    try:
        yield
    except (ValueError, MemoryError) as error:
        said = str(error) or "not enough memory"
    except BrokenPipeError:
        raise
    except OSError as error:
        said = f"{error.filename or 'a file'} could not be read or written ({error.strerror}){remedy}"
    else:
        return
    print(f"{prefix}: {said}", file=sys.stderr)
    sys.exit(2)
