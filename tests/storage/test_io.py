import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import io


def test_tables_survive_the_round_trip(tmp_path):
    table = {"name": np.array(["a", "b c"]), "n": np.array([1, 2]), "x": np.array([0.1, 1e-12])}
    io.write_csv(tmp_path / "t.csv", table)
    back = io.read_csv(tmp_path / "t.csv")
    assert list(back) == list(table)
    np.testing.assert_array_equal(back["name"], table["name"])
    np.testing.assert_array_equal(back["n"], table["n"])
    np.testing.assert_allclose(back["x"], table["x"], rtol=1e-9)
    with pytest.raises(ValueError, match="equally long"):
        io.write_csv(tmp_path / "t.csv", {"a": [1], "b": [1, 2]})
    with pytest.raises(ValueError, match="free of commas"):
        io.write_csv(tmp_path / "t.csv", {"a": ["x,y"]})


def test_paths_that_lead_out_of_a_folder_are_refused(tmp_path):
    (tmp_path / "link").symlink_to("/")
    assert io.inside(tmp_path, "a.csv") == tmp_path / "a.csv"
    for name in ("../a.csv", "/a.csv", "link/a.csv"):
        with pytest.raises(ValueError, match="leads out of"):
            io.inside(tmp_path, name)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "result.json"
    io.write_json(path, {"x": 1})
    before = path.read_bytes()

    def half():
        yield b"half"
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), io.atomic(path) as file:
        file.writelines(half())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_arrays_survive_and_pickles_are_refused(tmp_path):
    io.write_arrays(tmp_path / "a.npz", {"z": np.eye(3)})
    np.testing.assert_array_equal(io.read_arrays(tmp_path / "a.npz")["z"], np.eye(3))
    np.savez(tmp_path / "evil.npz", z=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        io.read_arrays(tmp_path / "evil.npz")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("paired", [False, True])
def test_clouds_survive_the_round_trip(tmp_path, weighted, paired):
    x = ct.sphere.uniform(jax.random.key(0), 5, 3, jnp.float32)
    cloud = ct.WeightedCloud(x, jnp.full(5, 0.2, jnp.float32)) if weighted else x
    clouds = ct.Pair(cloud, x[:2]) if paired else cloud
    io.save_clouds(tmp_path / "c.safetensors", clouds)
    back = io.load_clouds(tmp_path / "c.safetensors")
    assert jax.tree.structure(back) == jax.tree.structure(clouds)
    jax.tree.map(np.testing.assert_array_equal, back, clouds)


def test_files_that_hold_no_clouds_are_refused(tmp_path):
    (tmp_path / "junk.safetensors").write_bytes(b"not one")
    with pytest.raises(ValueError, match=r"must be a \.safetensors file"):
        io.load_clouds(tmp_path / "junk.safetensors")
    from safetensors.numpy import save_file

    save_file({"weights": np.eye(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"must hold `cloud\.points`"):
        io.load_clouds(tmp_path / "other.safetensors")


def test_provenance_names_versions_and_no_path():
    record = io.provenance()
    assert record["versions"]["jax"] == jax.__version__
    assert "/" not in str({k: v for k, v in record.items() if k != "git"})


def test_tables_keep_ten_digits(tmp_path):
    io.write_csv(tmp_path / "a.csv", {"third": [1 / 3], "large": [123456789.25]})
    back = io.read_csv(tmp_path / "a.csv")
    assert back["third"][0] == pytest.approx(1 / 3, abs=1e-10)
    assert back["large"][0] == pytest.approx(123456789.25, rel=1e-9)


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=real: (calls.append(n), f(*a))[1])
    with io.atomic(tmp_path / "a.txt") as file:
        file.write(b"text")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder that holds the name
