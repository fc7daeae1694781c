"""Find and run the examples (`>>>`) in docstrings of ctflow: `python tests/docs/examples.py [NAME ...]`."""

import ast
import doctest
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "ctflow"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def collect():
    """The examples as doctests. They are read from the sources, so that decorators cannot hide any."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            text = (ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None) or ""
            if ">>>" in text:
                name = getattr(node, "name", path.stem)
                line = getattr(node, "lineno", 0)
                found.append(doctest.DocTestParser().get_doctest(text, {}, name, str(path), line))
    return found


def run(names):
    """Run the examples of these names; returns how many lines of code were tried and how many failed."""
    runner = doctest.DocTestRunner()
    for test in collect():
        if test.name in names:
            runner.run(test)
    return runner.summarize()


if __name__ == "__main__":
    result = run(sys.argv[1:] or [test.name for test in collect()])
    print(f"{result.attempted} lines tried, {result.failed} failed")
    sys.exit(bool(result.failed))
