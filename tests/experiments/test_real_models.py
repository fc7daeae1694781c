"""The measurements of real models on small files that are made up here, and the folders it refuses."""

import json

import numpy as np
import pytest

from ctflow import io
from experiments import real_models
from experiments.setups import real_models as setup
from tests.draws import stretched_pairs


def made_up(folder):
    """A trained model with a gap, one with random weights, and a pair of files in half precision."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "clip.npy", np.stack(stretched_pairs(80, 6, 1.0, 0.3)).astype(np.float32))
    np.save(folder / "features_clip_random.npy", [rng.standard_normal((60, 6)) + side for side in (3, -3)])
    x, y = stretched_pairs(70, 5, 0.1, 0.2, seed=1)
    for name, rows in (("doc", x), ("code", y)):
        np.save(folder / f"python_{name}.npy", rows.astype(np.float16))
    return folder


def call(*words):
    with pytest.raises(SystemExit) as stop:
        real_models.main([*map(str, words)])
    return stop.value.code


@pytest.mark.long
def test_a_small_folder_is_measured_and_drawn_again(tmp_path, capsys):
    data = made_up(tmp_path / "data")
    words = ["--data", str(data), "--preset", "smoke", "--out", str(tmp_path)]
    real_models.main(words)
    out = capsys.readouterr()
    assert "not measured, because missing: clasp.npy, clasp_random.npy, convirt.npy" in out.out + out.err
    folder = tmp_path / "real_models"
    t = {path.stem: io.read_csv(path) for path in folder.glob("*.csv")}
    assert set(t) == {"sources", "numbers", "shuffled", "temperatures", "corrections", "published"}
    assert {path.name for path in folder.glob("*.png")} == {"gaps.png", "temperatures.png", "corrections.png"}
    assert t["sources"]["source"].tolist() == ["clip", "clip_random", "python"]
    assert t["sources"]["files"].tolist()[1:] == [
        "features_clip_random.npy",
        "python_doc.npy python_code.npy",
    ]
    assert set(t["corrections"]["source"]) == {"clip", "python"}  # nothing helps random weights
    # Shuffled partners leave the means where they are, and take recall to chance.
    s = t["shuffled"]
    gap, recall = (s["number"] == name for name in ("centroid_gap", "recall@10_x_to_y"))
    np.testing.assert_allclose(s["shuffled_mean"][gap], s["right_pairs"][gap], rtol=1e-9)
    assert (np.abs(s["shuffled_mean"] - s["by_chance"])[recall] < 5 * s["by_chance_sd"][recall]).all()
    assert s["right_pairs"][recall][0] > 0.5
    right = t["numbers"]["value"][
        (t["numbers"]["source"] == "clip") & (t["numbers"]["number"] == "centroid_gap")
    ]
    here = (t["published"]["model"] == "clip.npy") & (t["published"]["number"] == "centroid_gap")
    assert t["published"]["value"][here] == pytest.approx(right)
    # The hashes of the files belong to the settings.
    config = json.loads((folder / "run.json").read_text())["config"]
    assert "data" not in config
    assert str(data) not in (folder / "run.json").read_text()
    assert config["sources"][0] == f"clip {setup.digest((data / 'clip.npy',))}"
    before = (folder / "gaps.png").read_bytes()
    real_models.main(["--replot", "--out", str(tmp_path)])
    assert (folder / "gaps.png").read_bytes() == before


def archive(path):
    with path.open("wb") as file:
        np.savez(file, a=np.ones((2, 50, 3)))


def pickled(path):
    np.save(path, np.array([{}, {}], object), allow_pickle=True)


FILES = {
    "text": (lambda path: path.write_text("not an array"), "clip.npy must be a .npy file of an array"),
    "empty": (lambda path: path.write_bytes(b""), "clip.npy must be a .npy file of an array"),
    "archive": (archive, "clip.npy must be a .npy file of an array"),
    "pickle": (pickled, "clip.npy must be a .npy file of an array"),
    "flat": (lambda path: np.save(path, np.ones((50, 3))), "[2, n, d], got float64 [50, 3]"),
    "integers": (lambda path: np.save(path, np.ones((2, 50, 3), int)), "got int64 [2, 50, 3]"),
    "few": (lambda path: np.save(path, np.ones((2, 9, 3))), "must hold at least 40 pairs of rows, got 9"),
    "zero": (lambda path: np.save(path, np.zeros((2, 50, 3))), "must have no zero rows"),
    "nan": (lambda path: np.save(path, np.full((2, 50, 3), np.nan)), "must be finite"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_wrong_file_is_one_sentence(kind, tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    write, said = FILES[kind]
    write(data / "clip.npy")
    assert call("--data", data, "--preset", "smoke", "--out", tmp_path / "out") == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_wrong_folder_is_one_sentence(tmp_path, capsys):
    for words, said in (
        ((), "--data must name the folder of embeddings; docs/real-models.md says where they are"),
        (("--data", tmp_path / "none"), "none', which is no folder"),
        (("--data", tmp_path), "which holds none; they are at https://github.com/Weixin-Liang/Modality-Gap"),
        ((f"--data={made_up(tmp_path / 'd')}", "--purposes", "search"), "purposes must be among retrieval"),
    ):
        assert call(*words, "--out", tmp_path / "out") == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert said in line
    np.save(tmp_path / "d" / "python_code.npy", np.ones((3, 5), np.float16))
    with pytest.raises(
        ValueError, match=r"python_doc.npy and python_code.npy must pair row by row, got shapes"
    ):
        setup.read("python", setup.found_in(str(tmp_path / "d"))["python"], 10)
