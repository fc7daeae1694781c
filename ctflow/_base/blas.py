"""How many threads NumPy's and SciPy's linear algebra may take."""

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    """The linear algebra libraries that are loaded; NumPy and SciPy bring one each."""
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager:
    """Linear algebra in one thread, inside a `with`.

    Between small products that alternate with programs of JAX, the threads of OpenBLAS spin and take the
    cores from JAX's: a descent can then take ten times as long.
    """
    return _controller().limit(limits=1, user_api="blas")
