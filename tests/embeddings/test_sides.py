"""Both modalities from one path: each layout gives the two sides that were written, in the order stated."""

import h5py
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from ctflow.embeddings import open_pair
from tests.embeddings.test_embeddings import unit

IMAGE, TEXT = (
    unit(np.random.default_rng(seed).standard_normal((40, 6))).astype(np.float32) for seed in (0, 1)
)
BOTH = np.stack([IMAGE, TEXT])


def lists(rows):
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file["image"], file["text"], file["ids"] = IMAGE, TEXT, np.arange(40)


def write_links(path):
    """Datasets in groups, each with a soft link at the root."""
    with h5py.File(path, "w") as file:
        file["data/2023/image"], file["data/2023/text"], file["data/2022/image"] = IMAGE, TEXT, TEXT
        file["i"], file["t"] = h5py.SoftLink("/data/2023/image"), h5py.SoftLink("data/2023/text")


def write_dataset(path):
    with h5py.File(path, "w") as file:
        file["both"] = BOTH


def write_brain(path):
    save_file({"both": BOTH.astype(ml_dtypes.bfloat16)}, path)


def write_shards(path):
    path.mkdir()
    for number, part in enumerate((slice(0, 25), slice(25, 40))):
        np.savez(path / f"{number}.npz", image=IMAGE[part], text=TEXT[part])


FOUND = {
    "both.npy": (lambda path: np.save(path, BOTH), ("both[0]", "both[1]")),
    "stored.npz": (lambda path: np.savez(path, BOTH), ("stored[0]", "stored[1]")),
    "packed.npz": (lambda path: np.savez_compressed(path, BOTH), ("packed[0]", "packed[1]")),
    "both.safetensors": (lambda path: save_file({"both": BOTH}, path), ("both[0]", "both[1]")),
    "brain.safetensors": (write_brain, ("brain[0]", "brain[1]")),
    "both.h5": (write_dataset, ("both[0]", "both[1]")),
    "two.npz": (lambda path: np.savez(path, image=IMAGE, text=TEXT, ids=np.arange(40)), ("image", "text")),
    "two.safetensors": (lambda path: save_file({"image": IMAGE, "text": TEXT}, path), ("image", "text")),
    "two.h5": (write_hdf5, ("image", "text")),
    "two.parquet": (
        lambda path: pq.write_table(
            pa.table({"caption": ["a"] * 40, "image": lists(IMAGE), "text": lists(TEXT)}), path
        ),
        ("image", "text"),
    ),
    "shards": (write_shards, ("image", "text")),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_only_two_sides_of_a_path_are_its_modalities(name, tmp_path):
    write, names = FOUND[name]
    write(tmp_path / name)
    x, y = open_pair(tmp_path / name)
    close = 1e-2 if "brain" in name else 1e-6
    np.testing.assert_allclose(x.rows(slice(None)), IMAGE, atol=close)
    np.testing.assert_allclose(y.rows(np.array([30, 3, 3])), TEXT[[30, 3, 3]], atol=close)
    assert (x.label, y.label) == names
    assert str(tmp_path / name) in x.name != y.name


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        (("i", "t"), ("i", "t")),
        (("/i", "data/2023/text"), ("i", "text")),
        (("data/2022/image", "/data/2023/image"), ("data/2022/image", "/data/2023/image")),
    ],
)
def test_columns_name_the_sides(columns, named, tmp_path):
    write_links(tmp_path / "links.h5")
    x, y = open_pair(tmp_path / "links.h5", columns=columns)
    assert (x.label, y.label) == named
    first = TEXT if "2022" in columns[0] else IMAGE
    np.testing.assert_allclose(x.rows(slice(None)), first, atol=1e-6)
    np.testing.assert_allclose(y.rows(slice(None)), IMAGE if "image" in columns[1] else TEXT, atol=1e-6)
    with pytest.raises(ValueError, match=r"links.h5 must hold one array .*; name both .*\(--columns A B\)$"):
        open_pair(tmp_path / "links.h5")


def test_what_is_no_pair_is_refused_with_what_would_be_one(tmp_path):
    np.save(tmp_path / "one.npy", IMAGE)
    np.save(tmp_path / "three.npy", np.stack([IMAGE, TEXT, TEXT]))
    np.save(tmp_path / "columns.npy", np.asfortranarray(BOTH))
    np.savez(tmp_path / "shapes.npz", image=IMAGE, text=TEXT[:30])
    np.savez(tmp_path / "three.npz", a=IMAGE, b=TEXT, c=TEXT)
    for name, words in (
        ("one.npy", r"must hold two modalities: .* \[2, n, d\], .* got one array \[40, 6\]; give the other"),
        ("three.npy", r"got one array \[3, 40, 6\]"),
        ("columns.npy", "np.ascontiguousarray"),
        ("shapes.npz", r"must pair row by row, got shapes \(40, 6\) and \(30, 6\)"),
        ("three.npz", r"got a .*, b .*, c \[40, 6\] float32; name both modalities with columns"),
    ):
        with pytest.raises(ValueError, match=rf"{name}.*{words}"):
            open_pair(tmp_path / name)
    with pytest.raises(ValueError, match="columns must be two different names, got"):
        open_pair(tmp_path / "three.npz", columns=("a", "a"))
    x, y = open_pair(tmp_path / "shapes.npz", columns=("image", "text"))  # for use with pairs
    assert (x.shape, y.shape) == ((40, 6), (30, 6))


@pytest.mark.wrong_types
@pytest.mark.parametrize("columns", [("a",), "ab"])
def test_columns_of_another_type_are_refused(columns, tmp_path):
    np.savez(tmp_path / "two.npz", a=IMAGE, b=TEXT)
    with pytest.raises(ValueError, match="columns must be two different names, got"):
        open_pair(tmp_path / "two.npz", columns=columns)


def test_jax_saves_both_in_one_array(tmp_path):
    jnp.save(tmp_path / "both.npy", jnp.asarray(BOTH))
    x, y = open_pair(tmp_path / "both.npy")
    np.testing.assert_allclose(y.rows(slice(2)), TEXT[:2], atol=1e-6)
    assert x.shape == (40, 6)
