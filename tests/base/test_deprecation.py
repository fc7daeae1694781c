"""A deprecated name is the new one, with a warning at the line that used it; other names are missing."""

import sys
import warnings

import pytest

from ctflow import meanfield
from ctflow._base.deprecation import deprecated_name


@pytest.mark.wrong_types  # where annotations are checked, the checks are on the stack in between
def test_a_deprecated_name_is_the_new_one_and_warns_where_it_is_used():
    with pytest.warns(DeprecationWarning, match="use ctflow.meanfield.DensityFlow") as caught:
        assert meanfield.GradientFlow is meanfield.DensityFlow
    (warning,) = caught
    assert warning.filename == __file__


@pytest.mark.wrong_types  # where annotations are checked, the checks are on the stack in between
def test_an_import_of_a_deprecated_name_warns_here_too():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from ctflow.meanfield import GradientFlow  # noqa: F401
    assert {warning.category for warning in caught} == {DeprecationWarning}
    assert caught[-1].filename == __file__


def test_other_names_are_missing_as_in_any_module():
    with pytest.raises(AttributeError, match=r"module 'ctflow\.meanfield' has no attribute 'Flow'"):
        _ = meanfield.Flow
    with pytest.raises(AttributeError, match="'nothing'"):
        deprecated_name("sys", "nothing", {})
    with pytest.warns(DeprecationWarning, match="use sys.path"):
        assert deprecated_name("sys", "old", {"old": "path"}) is sys.path
