"""Files of PyTorch: tensors are read, anything else is refused, and no code of a file is ever run."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from ctflow.embeddings import open_embeddings, open_pair
from tests.embeddings.test_embeddings import unit

torch = pytest.importorskip("torch", reason="PyTorch is not installed (dependency group formats)")

ROWS = unit(np.random.default_rng(0).standard_normal((60, 8))).astype(np.float32)
TENSOR = torch.tensor(ROWS)


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


GOOD = {
    "tensor.pt": lambda path: torch.save(TENSOR, path),
    "tensor.pth": lambda path: torch.save(TENSOR, path),
    "parameter.pt": lambda path: torch.save(torch.nn.Parameter(TENSOR), path),
    "named.pt": lambda path: torch.save({"emb": TENSOR, "ids": list(range(60)), "step": 3}, path),
    "nested.pt": lambda path: torch.save({"out": {"emb": TENSOR}, "loss": torch.tensor(0.5)}, path),
    "list.pt": lambda path: torch.save(list(TENSOR), path),
    "transposed.pt": lambda path: torch.save(TENSOR.t().contiguous().t(), path),
    "view.pt": lambda path: torch.save(torch.cat([TENSOR, TENSOR])[:60], path),
    "half.pt": lambda path: torch.save(TENSOR.half(), path),
    "bfloat16.pt": lambda path: torch.save(TENSOR.bfloat16(), path),
    "double.pt": lambda path: torch.save(TENSOR.double(), path),
    "quantised.pt": lambda path: torch.save((TENSOR * 127).round().to(torch.int8), path),
}


@pytest.mark.parametrize("name", GOOD)
def test_tensors_are_read(name, tmp_path):
    GOOD[name](tmp_path / name)
    found = open_embeddings(tmp_path / name)
    close = 1e-2 if name in ("half.pt", "bfloat16.pt", "quantised.pt") else 1e-6
    np.testing.assert_allclose(found.rows(slice(None)), ROWS, atol=close)
    assert found.stored.name == {
        "half.pt": "float16", "bfloat16.pt": "bfloat16", "double.pt": "float64", "quantised.pt": "int8"
    }.get(name, "float32")  # fmt: skip


def test_both_modalities(tmp_path):
    torch.save(torch.stack([TENSOR, -TENSOR]), tmp_path / "both.pt")
    torch.save({"image": TENSOR, "text": -TENSOR}, tmp_path / "named.pt")
    torch.save((TENSOR, -TENSOR), tmp_path / "tuple.pt")
    torch.save({"state": {"image": TENSOR}, "a": {"text": -TENSOR}, "b": TENSOR}, tmp_path / "three.pt")
    for name, columns in (
        ("both.pt", None),
        ("named.pt", None),
        ("tuple.pt", None),
        ("three.pt", ("state/image", "a/text")),
    ):
        x, y = open_pair(tmp_path / name, columns=columns)
        np.testing.assert_allclose(x.rows(slice(None)), ROWS, atol=1e-6)
        np.testing.assert_allclose(y.rows(slice(None)), -ROWS, atol=1e-6)
    assert (x.label, y.label) == ("image", "text")


def zipped(path, change):
    """A file of torch.save, written again with one change."""
    torch.save(TENSOR, path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            change(archive, name, content)


def compressed(archive, name, content):
    archive.writestr(name, content, zipfile.ZIP_DEFLATED)


def cut(archive, name, content):
    archive.writestr(name, content[:100] if "/data/" in name else content)


def large(archive, name, content):
    archive.writestr(name, content + bytes(1 << 25) if name.endswith("data.pkl") else content)


def truncated(path):
    torch.save(TENSOR, path)
    path.write_bytes(path.read_bytes()[:-400])


BAD = {
    "malicious.pt": (
        lambda path: torch.save({"emb": TENSOR, "x": Malicious(path.parent / "ran")}, path),
        "it holds objects other than tensors, which are not loaded because they could run code; save the",
    ),
    "pickle.pt": (
        lambda path: path.write_bytes(pickle.dumps(Malicious(path.parent / "ran"))),
        "it is no zip archive; other pickles are never loaded",
    ),
    "legacy.pt": (
        lambda path: torch.save(Malicious(path.parent / "ran"), path, _use_new_zipfile_serialization=False),
        "it is no zip archive; other pickles are never loaded",
    ),
    "module.pt": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        "it holds objects other than tensors",
    ),
    "array.pt": (lambda path: torch.save(ROWS, path), "it holds objects other than tensors"),
    "script.pt": (lambda path: torch.jit.script(torch.nn.Linear(2, 2)).save(str(path)), "file of torch.save"),
    "numbers.pt": (lambda path: torch.save({"a": [1, 2]}, path), "must hold tensors, got dict"),
    "truncated.pt": (truncated, "must be a readable file of torch.save"),
    "bomb.pt": (lambda path: zipped(path, compressed), "is compressed; torch.save does not compress"),
    "cut.pt": (lambda path: zipped(path, cut), "must be a readable file of torch.save"),
    "large.pt": (lambda path: zipped(path, large), "data.pkl has more than 16777216 bytes"),
    "markup.pt": (lambda path: path.write_text("<html>not found</html>"), "it is no zip archive"),
    "empty.pt": (lambda path: path.write_bytes(b""), "an empty file of 0 bytes"),
    "complex.pt": (lambda path: torch.save(torch.complex(TENSOR, TENSOR), path), "got complex64"),
    "sparse.pt": (
        lambda path: torch.save(TENSOR.to_sparse(), path),
        "got 'tensor' of layout torch.sparse_coo",
    ),
    "cube.pt": (lambda path: torch.save(TENSOR.reshape(4, 15, 8), path), r"must be 2-D, \[n, d\]"),
    "ragged.pt": (
        lambda path: torch.save([TENSOR[0], TENSOR[1, :3], TENSOR[2]], path),
        "must hold one array",
    ),
    "nan.pt": (lambda path: torch.save(TENSOR * float("nan"), path), "must be finite"),
    "huge.pt": (
        lambda path: torch.save(TENSOR[:1].expand(10**10, 8), path),
        "must hold the rows in its header",
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", BAD)
def test_anything_else_is_refused_and_never_run(name, tmp_path):
    write, words = BAD[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=words) as caught:
        open_embeddings(tmp_path / name).rows(slice(None))
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_malicious_pickle_would_run(tmp_path):
    """What the refusals above are worth."""
    pickle.loads(pickle.dumps(Malicious(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_a_file_larger_than_an_eighth_of_the_memory_is_refused(tmp_path, monkeypatch):
    torch.save(TENSOR, tmp_path / "a.pt")
    monkeypatch.setattr("ctflow.embeddings.readers.tensors.share_of_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"at most an eighth of the memory, 1000 bytes, got .*safetensors"):
        open_embeddings(tmp_path / "a.pt")
