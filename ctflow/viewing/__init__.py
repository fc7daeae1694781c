"""Look at a flow: interactive pages of moving clouds, as `ct.view` and `ctflow view` make them.

`view` makes a page, `as_run` says what belongs to a run that is given as arrays, and `open_runs` reads the
runs that a folder holds.
"""

from ctflow.viewing.folders import open_runs
from ctflow.viewing.runs import Run, as_run
from ctflow.viewing.view import View, view

__all__ = ["Run", "View", "as_run", "open_runs", "view"]
