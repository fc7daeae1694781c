"""How many threads NumPy's and SciPy's linear algebra may take."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")


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


def in_one_blas_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that linear algebra runs in one thread inside it."""

    @wraps(function)
    def limited(*args: P.args, **options: P.kwargs) -> R:
        with one_blas_thread():
            return function(*args, **options)

    return limited
