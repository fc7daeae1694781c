"""Names of the modalities: where they come from, where they are shown, and which are refused."""

import numpy as np
import pytest

import ctflow as ct
from ctflow.embeddings.names import label_of, names_of, printable, short
from tests.draws import paired_rows, unit

QUICK = {"n_permutations": 99, "n_bootstrap": 0}


def clouds(n=60, d=6):
    x, y = paired_rows(n, d, 0.5, 0)
    return unit(x), unit(y + 0.7 * np.eye(d)[0])


def test_names_are_those_of_the_files_if_they_differ(tmp_path):
    x, _ = clouds()
    (tmp_path / "other").mkdir()
    for path in ("image.npy", "text.npy", "x.npy", "other/image.npy"):
        np.save(tmp_path / path, x)
    image, text, letter, again = (
        ct.embeddings.open_embeddings(tmp_path / path)
        for path in ("image.npy", "text.npy", "x.npy", "other/image.npy")
    )
    assert names_of(image, text) == ("image", "text")
    assert names_of(image, again) == (tmp_path.name, "other")
    assert names_of(letter, text) == ("x", "y")
    assert names_of(image, text, ["a", "b"]) == ("a", "b")


def test_everything_shown_uses_the_names_and_keys_stay():
    x, y = clouds()
    pairs = np.column_stack([np.arange(40)] * 2)
    report = ct.diagnose(x, y, pairs=pairs, temperature=0.1, names=("picture", "caption"), **QUICK)
    shown = " ".join([*report.verdict, *report.words, *report.notes, report.to_markdown(), str(report)])
    shown += report._repr_html_() + repr(report) + " ".join(m.means + m.reference for m in report.metrics)
    for text in ("recall@1 picture → caption", "cone caption", "centroid gap ‖picture − caption‖"):
        assert text in shown
    for letters in (" of x ", " of y", "from x", "to y", "x and y", "row of x", "‖x", "|x"):
        assert letters not in shown
    assert report["recall@1_x_to_y"].value == report["recall@1_x_to_y"].value
    assert report["cone_x"].means == "mean cosine of two rows of picture"
    plain = ct.diagnose(x, y, pairs=pairs, temperature=0.1, **QUICK)
    assert [m.name for m in report.metrics] == [m.name for m in plain.metrics]
    assert plain.names == ("x", "y")
    assert "20 rows of picture and 20 of caption have no partner" in shown


def test_labels_and_long_names():
    names = ("image", "a very long name of a modality")
    assert label_of("recall@5_y_to_x", names, 9) == "recall@5 a ve…lity → image"
    assert label_of("divergence_21", ("a", "b")) == "divergence b ‖ a"
    assert label_of("free_energy_12", ("a", "b")) == "free energy a"
    assert label_of("effective_rank_y", ("a", "b")) == "effective rank b"
    assert label_of("energy_coefficient", ("a", "b")) == "energy coefficient"
    assert short("abcdefghij", 5) == "ab…ij"
    assert short("abcde", 5) == "abcde"
    assert printable("a\x1b[31m\nb") == "a\ufffd[31m\ufffdb"


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a", "a"), "names must differ, got 'a' twice"),
        (("a",), "names must be two names"),
        ("ab", "names must be two names"),
        ((1, 2), "names must be two names"),
        (("", "b"), "1 to 120 characters"),
        (("a" * 121, "b"), "1 to 120 characters"),
        (("a\x1b[2J", "b"), "no control characters"),
    ],
)
def test_names_are_refused(names, words):
    with pytest.raises(ValueError, match=words):
        ct.diagnose(*clouds(), names=names, **QUICK)


def test_messages_about_arrays_use_the_names():
    x, y = clouds()
    with pytest.raises(ValueError, match="image and text must have rows of one width, got 6 and 4"):
        ct.diagnose(x, unit(y[:, :4]), names=("image", "text"), **QUICK)
    with pytest.raises(ValueError, match="text must have rows of unit norm"):
        ct.diagnose(x, 2 * y, names=("image", "text"), **QUICK)
