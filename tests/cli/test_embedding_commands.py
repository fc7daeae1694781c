"""`ctflow diagnose` and `ctflow correct` as a user types them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctflow import cli, io
from ctflow.corrections import load
from ctflow.pages.bundle import can_be_made


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a pair of files, as the working directory."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((120, 8))
    for name, shift in (("image", 0.0), ("text", 0.7)):
        rows = unit(common + 0.5 * rng.standard_normal((120, 8)) + shift)
        np.save(tmp_path / f"{name}.npy", rows.astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch, *words):
    """Exit code of the command, in this process."""
    monkeypatch.setattr(sys, "argv", ["ctflow", *words])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code or 0
    return 0


def test_diagnose_prints_a_verdict_and_writes_a_report(here, monkeypatch, capsys):
    """Without Plotly there is no page, and a line says how to get it."""
    monkeypatch.setattr("ctflow.cli.outputs.can_be_made", lambda: False)
    words = ("diagnose", "image.npy", "text.npy", "--logit-scale", "20", "--n-bootstrap", "20", "--out", "r")
    assert call(monkeypatch, *words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("There is a gap: 9 of 9 distances between image and text")
    assert "`ctflow correct image.npy text.npy`" in printed
    assert len(printed.splitlines()) < 20
    assert "for the page report.html run pip install 'ctflow[html]'" in printed
    assert sorted(path.name for path in (here / "r").iterdir()) == ["report.json", "report.md", "report.png"]
    content = json.loads((here / "r" / "report.json").read_text())
    assert content["settings"]["temperature"] == 0.05
    assert content["settings"]["x"] == "image.npy"
    assert call(monkeypatch, *words) == 2
    assert "already holds report.json, report.md, report.png; give --overwrite" in capsys.readouterr().err
    assert call(monkeypatch, *words, "--overwrite") == 0


def test_diagnose_writes_a_page_with_corrections_and_the_command(here, monkeypatch, capsys):
    pytest.importorskip("plotly", reason="the page needs Plotly")
    os.rename("text.npy", "te xt.npy")
    words = ("diagnose", "image.npy", "te xt.npy", "--names", "picture", "a caption", "--out", "r", *QUICK)
    assert call(monkeypatch, *words) == 0
    assert "wrote report.json, report.md, report.png and report.html into r" in capsys.readouterr().out
    page = (here / "r" / "report.html").read_text()
    assert "ctflow diagnose image.npy &#x27;te xt.npy&#x27; --names picture &#x27;a caption&#x27;" in page
    assert "ctflow correct image.npy &#x27;te xt.npy&#x27; --names picture &#x27;a caption&#x27;" in page
    assert "What corrections gain and cost" in page
    assert "recall@1 picture → a caption" in page
    assert page.count("plotly.js v") == 1


def test_correct_speaks_of_the_names(here, monkeypatch, capsys):
    words = ("correct", "image.npy", "text.npy", "--purpose", "mixed", "--names", "picture", "caption")
    assert call(monkeypatch, *words) == 0
    printed = capsys.readouterr().out
    assert "R@1 picture>caption" in printed
    assert "recall@1 of picture in a corpus of both" in printed
    assert call(monkeypatch, *words[:-1], "picture") == 2
    assert "names must differ, got 'picture' twice" in capsys.readouterr().err


def test_correct_prints_a_table_and_writes_the_corrected_rows(here, monkeypatch, capsys):
    words = ("correct", "image.npy", "text.npy", "--purpose", "mixed", "--out", "c", "--method", "centring")
    assert call(monkeypatch, *words) == 0
    assert "recall@1 in a corpus of both modalities" in capsys.readouterr().out
    table = io.read_csv(here / "c" / "corrections.csv")
    assert "procrustes" in table["method"]
    correction = load(here / "c" / "correction.safetensors")
    x, y = np.load("image.npy"), np.load("text.npy")
    for name, rows in zip("xy", correction.transform(x, y), strict=True):
        np.testing.assert_allclose(np.load(here / "c" / f"{name}.npy"), rows, atol=1e-6)
    assert (here / "c" / "corrections.png").stat().st_size > 1000


QUICK = ("--n-bootstrap", "0", "--n-permutations", "99")


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ("--logit-scale 4.7215 --logit-bias -12.93", "temperature 0.212; if it is the logarithm"),
        ("--logit-scale 4.7215 --logit-bias -12.93", "its exponential, --logit-scale 112.34"),
        ("--logit-scale 112.3 --logit-bias -12.93", "112.3 is taken as the factor that multiplies"),
        ("--logit-scale 6.9", "its exponential, --logit-scale 992.27"),
        ("--logit-scale 2.6592", "temperature 0.376; if it is the logarithm"),
    ],
)
def test_a_logit_scale_that_may_be_a_logarithm_is_warned_of(here, monkeypatch, capsys, words, note):
    assert call(monkeypatch, "diagnose", "image.npy", "text.npy", *words.split(), *QUICK) == 0
    assert note in capsys.readouterr().out


def test_a_logit_scale_that_is_none_is_not(here, monkeypatch, capsys):
    assert call(monkeypatch, "diagnose", "image.npy", "text.npy", "--logit-scale", "100", *QUICK) == 0
    assert "--logit-scale" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["diagnose", "correct"])
@pytest.mark.parametrize("other", ["image.npy", "./image.npy", "link.npy"])
def test_a_file_compared_with_itself_is_refused(here, monkeypatch, capsys, command, other):
    (here / "link.npy").symlink_to(here / "image.npy")
    assert call(monkeypatch, command, "image.npy", other) == 2
    assert "are one file" in capsys.readouterr().err


def test_the_environment_of_a_notebook_does_not_end_it(here):
    """A backend, an accelerator, LaTeX and a font that are not there."""
    (here / "matplotlibrc").write_text("text.usetex: True\nfont.family: A font that nobody has\n")
    found = {
        "MPLBACKEND": "module://not_here.backend",
        "JAX_PLATFORMS": "cuda",
        "MATPLOTLIBRC": "matplotlibrc",
    }
    words = ["diagnose", "image.npy", "text.npy", "--temperature", "0.1", "--out", "r", *QUICK]
    code = f"import sys; sys.argv = ['ctflow', *{words!r}]; from ctflow.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **found, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert len(list((here / "r").iterdir())) == 3 + can_be_made()


def test_a_report_is_written_whole_or_not_at_all(here, monkeypatch, capsys):
    """The picture fails after the tables: nothing is left, the folder neither."""
    monkeypatch.setattr("ctflow.embeddings.diagnosis.plot.picture", lambda report: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call(monkeypatch, "diagnose", "image.npy", "text.npy", "--out", "r", *QUICK)
    assert not (here / "r").exists()


def test_pairs_come_from_a_file(here, monkeypatch, capsys):
    np.savetxt("pairs.csv", np.column_stack([np.arange(60)] * 2), fmt="%d", delimiter=",")
    assert (
        call(monkeypatch, "diagnose", "image.npy", "text.npy", "--pairs", "pairs.csv", "--n-bootstrap", "0")
        == 0
    )
    assert "60 rows of image and 60 of text have no partner" in capsys.readouterr().out


def numbers_in(text):
    """All decimal numbers of a report but for its notes, in order."""
    return re.findall(r"-?\d+\.\d+(?:e-?\d+)?", re.sub("(?m)^note: .*$", "", text))


@pytest.mark.parametrize(
    "words",
    [
        "both.npz --columns image text",
        "both.npz",
        "both.npy",
        "both.npz both.npz --columns image text",
        "only.npz both.npz --columns a text",
    ],
)
def test_both_modalities_may_be_in_one_file(here, monkeypatch, capsys, words):
    x, y = np.load("image.npy"), np.load("text.npy")
    np.savez("both.npz", image=x, text=y, ids=np.arange(120))
    np.savez("only.npz", a=x, b=y)
    np.save("both.npy", np.stack([x, y]))
    assert call(monkeypatch, "diagnose", "image.npy", "text.npy", *QUICK) == 0
    expected = capsys.readouterr().out
    assert call(monkeypatch, "diagnose", *words.split(), *QUICK) == 0
    numbers = numbers_in(expected)
    assert len(numbers) > 20
    assert numbers == numbers_in(capsys.readouterr().out)


def test_correct_takes_both_from_one_file(here, monkeypatch, capsys):
    np.savez("both.npz", image=np.load("image.npy"), text=np.load("text.npy"))
    words = ("correct", "both.npz", "--columns", "image", "text", "--method", "centring", "--out", "c")
    assert call(monkeypatch, *words) == 0
    assert np.load(here / "c" / "y.npy").shape == (120, 8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("both.npz --columns image image", "columns must be two different names"),
        ("both.npz both.npz --columns image image", "are one file, read with one column 'image'"),
        ("both.npz --columns image words", "has no array 'words'; it holds image"),
        ("both.npz --column image", "give both with --columns image OTHER"),
        ("both.npz both.npz --column image --columns image text", "give --column or --columns, not both"),
        ("image.npy", "image.npy must hold two modalities"),
    ],
)
def test_columns_that_do_not_name_two_modalities_are_refused(here, monkeypatch, capsys, words, message):
    np.savez("both.npz", image=np.load("image.npy"), text=np.load("text.npy"))
    assert call(monkeypatch, "diagnose", *words.split()) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def write_tables():
    """Two tables with ids, and pairs of ids in another order."""
    x, y = np.load("image.npy"), np.load("text.npy")
    order = np.random.default_rng(0).permutation(120)
    names = np.array([f"{i}.jpg" for i in range(120)])
    table = pa.table({"file": names, "emb": list(x), "score": np.arange(120.0)})
    pq.write_table(table, "image.parquet")
    lines = [{"id": f"caption {i}", "emb": row} for i, row in zip(order, y[order].tolist(), strict=True)]
    Path("text.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pairs = [f"{i}.jpg,caption {i}" for i in range(120)]
    Path("pairs.csv").write_text("\n".join(["image,text", *pairs]))


@pytest.mark.parametrize("command", ["diagnose", "correct"])
def test_pairs_may_be_named_by_ids(here, monkeypatch, capsys, command):
    write_tables()
    quick = QUICK if command == "diagnose" else ("--max-rows", "50")
    assert call(monkeypatch, command, "image.npy", "text.npy", *quick) == 0
    expected = capsys.readouterr().out
    words = ("image.parquet", "text.jsonl", "--column", "emb", "--pairs", "pairs.csv", "--ids", "file", "id")
    assert call(monkeypatch, command, *words, *quick) == 0
    found = capsys.readouterr().out
    if command == "diagnose":
        assert numbers_in(expected) == numbers_in(found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--ids file id", "give --pairs FILE"),
        ("--pairs pairs.csv --ids a b c", "--ids takes one name, or one for each modality, got 3"),
        ("--pairs pairs.csv --ids file", "text.jsonl must have 'file' in every record"),
        (
            "--pairs pairs.csv --ids name id",
            "image.parquet must be a readable .parquet file (it has no column",
        ),
        ("--pairs pairs.csv", "pairs.csv must be a readable file of two integers per line"),
    ],
)
def test_ids_that_cannot_be_used_are_refused(here, monkeypatch, capsys, words, message):
    write_tables()
    call_words = ("image.parquet", "text.jsonl", "--column", "emb", *words.split())
    assert call(monkeypatch, "diagnose", *call_words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def write_bad_files():
    good = np.load("image.npy")
    np.save("nan.npy", np.where(np.arange(120)[:, None] == 7, np.nan, good))
    np.save("zero.npy", np.where(np.arange(120)[:, None] == 3, 0, good))
    np.save("long.npy", 3 * good)
    np.save("flat.npy", good.ravel())
    np.save("ints.npy", np.ones((120, 8), int))
    np.save("short.npy", good[:50])
    np.save("wide.npy", unit(np.hstack([good, good])))
    np.save("one.npy", good[:1])
    np.save("objects.npy", np.array([{"a": 1}, None], object), allow_pickle=True)
    np.save("pairs.npy", np.array([[0, 0], [3, 500]]))
    with open("image.npy", "rb") as file:
        content = file.read()
    for name, part in (("torn.npy", content[:-100]), ("empty.npy", b""), ("image.txt", content)):
        with open(name, "wb") as file:
            file.write(part)


REFUSED = {
    "none.npy text.npy": "none.npy",
    "image.txt text.npy": "image.txt",
    "torn.npy text.npy": "torn.npy",
    "empty.npy text.npy": "empty.npy",
    "objects.npy text.npy": "objects.npy",
    "nan.npy text.npy": "row 7",
    "zero.npy text.npy": "row 3",
    "long.npy text.npy": "--normalize",
    "image.npy short.npy": "120 rows and short.npy has 50",
    "image.npy wide.npy": "8 and 16",
    "flat.npy text.npy": "flat.npy",
    "ints.npy text.npy": "ints.npy",
    "one.npy one.npy": "one.npy",
    "image.npy text.npy --pairs pairs.npy": "500",
    "image.npy text.npy --pairs none.csv": "none.csv",
    "image.npy text.npy --temperature 0": "--temperature must be finite and > 0, got 0",
    "image.npy text.npy --temperature -1": "--temperature must be finite and > 0, got -1",
    "image.npy text.npy --temperature 0.1 --logit-scale 10": "not both",
    "image.npy text.npy --logit-scale 4.6052": "give its exponential, --logit-scale 100",
    "image.npy text.npy --logit-bias -10": "needs a temperature",
    "image.npy text.npy --pairs pairs.npy --unpaired": "not both",
    "image.npy": "image.npy",
    "image.npy text.npy --out /dev/null": "--out must be a folder",
}


@pytest.mark.parametrize("words", REFUSED)
def test_bad_input_gets_one_line_and_nothing_is_written(here, monkeypatch, capsys, words):
    write_bad_files()
    before = sorted(here.iterdir())
    out = [] if "--out" in words else ["--out", "r"]
    assert call(monkeypatch, "diagnose", *words.split(), "--n-bootstrap", "0", *out) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.replace("\r", "\n").strip().splitlines()[-1:]
    assert line.startswith("ctflow diagnose: ")
    assert REFUSED[words] in line
    assert "Traceback" not in captured.err
    assert not captured.out
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("image.npy text.npy --method coral", "give --out FOLDER"),
        ("image.npy short.npy", "must be paired row by row"),
        ("image.npy text.npy --held-out 1", "held_out must lie in (0, 1)"),
        ("image.npy text.npy --epsilon 0.001", "epsilon must be >= 0.005"),
        ("image.npy text.npy --ridge 0", "ridge must be finite and > 0"),
        ("image.npy text.npy --method csls --out r", "--method csls has no rows to write"),
        ("image.npy text.npy --pairs pairs.npy", "500"),
        ("image.npy text.npy --pairs few.npy", "6 groups are independent and at least 40"),
        ("image.npy text.npy --pairs thirty.npy", "30 independent groups of pairs are too few to split"),
        ("image.npy text.npy --pairs star.npy", "both fitted on and measured: 1 groups are independent"),
        ("image.npy point.npy --method centring --out r", "collapsed to a point"),
        (
            "image.npy near.npy --method centring --out r",
            "nothing was written: centring needs rows",
        ),
    ],
)
def test_correct_refuses_too(here, monkeypatch, capsys, words, message):
    write_bad_files()
    write_degenerate_files()
    before = sorted(here.iterdir())
    assert call(monkeypatch, "correct", *words.split()) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert sorted(here.iterdir()) == before


def write_degenerate_files():
    rng = np.random.default_rng(1)
    np.save("point.npy", np.tile(np.load("text.npy")[:1], (120, 1)))
    near = unit(rng.standard_normal(8) + 3e-8 * rng.standard_normal((120, 8)))
    np.save("near.npy", near.astype(np.float32))
    np.save("few.npy", np.column_stack([np.repeat(np.arange(6), 20), np.arange(120)]))
    i = np.arange(120)
    np.save("thirty.npy", np.column_stack([i[:30], i[:30]]))
    np.save("star.npy", np.concatenate([np.column_stack([i, 0 * i]), np.column_stack([0 * i, i])]))


def test_correct_on_a_nearly_collapsed_tower_recommends_and_writes_nothing_broken(here, monkeypatch, capsys):
    write_degenerate_files()
    words = ("correct", "image.npy", "near.npy", "--purpose", "clustering", "--out", "r")
    assert call(monkeypatch, *words) == 0
    printed = capsys.readouterr().out
    assert "centring failed: centring needs rows that differ: those of near.npy" in printed
    assert "Recommended" not in printed
    assert call(monkeypatch, *words[:-1], "s", "--method", "translation") == 0
    assert np.isfinite(np.load(here / "s" / "y.npy")).all()


def test_correct_takes_pairs(here, monkeypatch, capsys):
    """Five captions an image, in any order: partners are found, and nothing is said of another order."""
    rng = np.random.default_rng(2)
    x = unit(rng.standard_normal((50, 8)))
    listed = np.column_stack([np.repeat(np.arange(50), 5), rng.permutation(250)])
    y = np.empty((250, 8))
    y[listed[:, 1]] = x[listed[:, 0]] + 0.3 * rng.standard_normal((250, 8)) + 0.4
    np.save("x5.npy", x.astype(np.float32))
    np.save("y5.npy", unit(y).astype(np.float32))
    np.save("captions.npy", listed)
    words = ("correct", "x5.npy", "y5.npy", "--out", "p", "--method", "cca")
    assert call(monkeypatch, *words) == 2
    assert "give pairs (--pairs FILE)" in capsys.readouterr().err
    assert call(monkeypatch, *words, "--pairs", "captions.npy") == 0
    printed = capsys.readouterr().out
    assert "On 125 held-out pairs" in printed
    assert "same order" not in printed
    assert np.load(here / "p" / "y.npy").shape == (250, 8)
    assert np.load(here / "p" / "x.npy").shape == (50, 8)


def test_correct_warns_of_files_in_another_order(here, monkeypatch, capsys):
    np.save("mixed.npy", np.load("text.npy")[np.random.default_rng(0).permutation(120)])
    assert call(monkeypatch, "correct", "image.npy", "mixed.npy", "--purpose", "mixed") == 0
    printed = capsys.readouterr().out
    assert "are the files in the same order?" in printed
    assert (
        "By chance recall@1 from image to mixed and from mixed to image would be 0.017 and 0.017" in printed
    )
    assert "Recommended" not in printed


@pytest.mark.parametrize("there", [False, True])
def test_a_row_that_loses_its_direction_leaves_nothing_behind(here, monkeypatch, capsys, there):
    """A row of the file that was neither fitted on nor measured, and that the map sends to 0."""
    x, y = np.load("image.npy"), np.load("text.npy")
    order = np.random.default_rng(0).permutation(120)
    unused, fitted = order[60:], order[30:60]
    bad = int(unused[unused > 60][0])
    shift = x[fitted].mean(axis=0) - y[fitted].mean(axis=0)
    nearest = unused[np.linalg.norm(y[unused] + shift, axis=1) < 0.7]
    y[nearest] = y[fitted[0]] + np.zeros((len(nearest), 1), np.float32)
    y[nearest] += 1e-3 * np.arange(1, len(nearest) + 1, dtype=np.float32)[:, None]
    y[nearest] = unit(y[nearest])
    y[bad] = -shift / np.linalg.norm(shift)  # of all unit rows, the one that the map brings nearest to 0
    np.save("leaning.npy", y)
    norms = np.linalg.norm(y + shift, axis=1)
    least = (norms[bad] + np.delete(norms, bad).min()) / 2
    monkeypatch.setattr("ctflow.cli.embeddings._FOR_FIT", 60)
    monkeypatch.setattr("ctflow.corrections.maps._BLOCK", 50)
    monkeypatch.setattr("ctflow.corrections.maps._LOST", least / np.finfo(np.float32).eps)
    words = ("correct", "image.npy", "leaning.npy", "--method", "translation", "--out", "o")
    if there:
        (here / "o").mkdir()
        (here / "o" / "x.npy").write_text("old")
        words = (*words, "--overwrite")
    assert call(monkeypatch, *words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"leaves 1 of 50 rows of leaning.npy without a direction, the first is row {bad}" in line
    assert sorted(path.name for path in here.glob("o*")) == (["o"] if there else [])
    if there:
        assert [path.name for path in (here / "o").iterdir()] == ["x.npy"]
        assert (here / "o" / "x.npy").read_text() == "old"


def test_a_full_disk_while_rows_are_written_leaves_nothing_behind(here, monkeypatch, capsys):
    def full(path, source, correction, name):
        if name == "y":
            raise OSError(28, "No space left on device", str(path))
        path.write_bytes(b"half")

    monkeypatch.setattr("ctflow.cli.embeddings._write_rows", full)
    words = ("correct", "image.npy", "text.npy", "--method", "centring", "--out", "o")
    assert call(monkeypatch, *words) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not (here / "o").exists()


def test_help_is_instant():
    for command in ("diagnose", "correct"):
        code = f"import sys; sys.argv = ['ctflow', '{command}', '--help']\nfrom ctflow.cli import main\n"
        code += (
            "try:\n    main()\nfinally:\n    assert 'jax' not in sys.modules and 'scipy' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "embeddings" in done.stdout


@pytest.mark.long
def test_why_takes_files_and_writes_what_it_says(here, monkeypatch, capsys):
    (here / "epoch_1").mkdir()
    for name in ("image", "text"):
        np.save(here / "epoch_1" / f"{name}.npy", np.load(f"{name}.npy")[:, ::-1].copy())
    words = ("why", "image.npy", "text.npy", "--logit-scale", "10", "--max-free", "40", "--out", "w")
    start = ("--start", "epoch_1/image.npy", "epoch_1/text.npy")
    assert call(monkeypatch, *words, *start) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("The means of image and text are ")
    assert "The start: " in printed
    content = json.loads((here / "w" / "why.json").read_text())
    assert content["settings"]["temperature"] == 0.1
    assert content["settings"]["command"] == "ctflow " + " ".join((*words, *start))
    assert content["summary"][0] in printed
    assert content["start"]["gap"] == pytest.approx(content["gap"], rel=1e-5)
    report = ("diagnose", "image.npy", "text.npy", "--logit-scale", "10", "--max-gallery", "1000", *QUICK)
    assert call(monkeypatch, *report, "--out", "r") == 0
    loss = json.loads((here / "r" / "report.json").read_text())
    values = {metric["name"]: metric["value"] for metric in loss["metrics"]}
    line = content["loss_against_gap"]
    assert line["loss"][line["here"]] == pytest.approx(values["in_batch_loss"], abs=1e-6)
    assert call(monkeypatch, *words) == 2
    assert "w already holds why.json" in capsys.readouterr().err


def test_track_follows_a_folder(here, monkeypatch, capsys):
    run = here / "run"
    run.mkdir()
    rows = {name: np.load(f"{name}.npy") for name in ("image", "text")}
    for step, name in ((2, "image"), (10, "text")):
        np.savez(run / f"step_{step}.npz", image=rows["image"], text=rows[name])
    words = ("track", "run", "--logit-scale", "10", "--columns", "image", "text", "--out", "t")
    assert call(monkeypatch, *words) == 0
    printed = capsys.readouterr().out
    assert "first at step 10" in printed
    table = io.read_csv(here / "t" / "track.csv")
    assert table["step"].tolist() == [2, 10]
    assert table["centroid_gap"][0] == pytest.approx(0, abs=1e-6)
    assert table["centroid_gap"][1] > 0.1
