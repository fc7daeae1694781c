"""Arrays in .npz: unpacked forward, checked against their checksum, and never trusted with memory."""

import zipfile

import numpy as np
import pytest

from ctflow.embeddings import open_embeddings
from ctflow.embeddings.readers import parts
from tests.embeddings.test_embeddings import unit

ROWS = unit(np.random.default_rng(5).standard_normal((400, 7)))


def write(path, kind, rows=ROWS):
    order = np.asfortranarray if "columns" in kind else np.ascontiguousarray
    (np.savez_compressed if "packed" in kind else np.savez)(path, a=order(rows), b=np.arange(3))


KINDS = ["packed rows", "packed columns", "stored rows", "stored columns"]


@pytest.mark.parametrize("keep", [0, 1 << 26])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_any_order_of_calls(kind, keep, tmp_path, monkeypatch):
    """Forward, backward, again from the start, and after the file was closed."""
    monkeypatch.setattr(parts, "_SMALL_BYTES", keep)
    monkeypatch.setattr(parts, "_KEPT_RATIO", 0 if keep == 0 else 4)
    monkeypatch.setattr(parts, "BLOCK_BYTES", 300)
    write(tmp_path / "a.npz", kind)
    found = open_embeddings(tmp_path / "a.npz")
    for index in (slice(3, 50), slice(50, 90), np.array([399, 0, 200]), slice(10, 20), slice(None)):
        np.testing.assert_allclose(found.rows(index), ROWS[index], atol=1e-15)
    found._live.close()
    np.testing.assert_allclose(found.rows(slice(5)), ROWS[:5], atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_found_wherever_it_is(kind, tmp_path):
    """The checksum is compared before the first rows are handed out, whichever they are."""
    write(tmp_path / "a.npz", kind)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        info = archive.getinfo("a.npy")
    for share in (0.5, 0.99):
        changed = bytearray(content)
        changed[info.header_offset + 200 + int(share * (info.compress_size - 200))] ^= 4
        (tmp_path / "b.npz").write_bytes(changed)
        with pytest.raises(ValueError, match=r"b\.npz must be a readable \.npz file"):
            open_embeddings(tmp_path / "b.npz").rows(np.array([0]))


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_behind_other_bytes_is_read(kind, tmp_path):
    """The places in the directory then count from the archive's own start."""
    write(tmp_path / "a.npz", kind)
    (tmp_path / "b.npz").write_bytes(b"before" * 100 + (tmp_path / "a.npz").read_bytes())
    np.testing.assert_allclose(open_embeddings(tmp_path / "b.npz").rows(slice(None)), ROWS, atol=1e-15)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_without_a_bound_are_refused(method, tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.write(tmp_path / "a.npy", "a.npy")
    with pytest.raises(ValueError, match=r"not compressed as by np\.savez_compressed"):
        open_embeddings(tmp_path / "a.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_with_more_than_its_array_is_refused(method, tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("a.npy", (tmp_path / "a.npy").read_bytes() + b"more")
    with pytest.raises(ValueError, match="must hold one array"):
        open_embeddings(tmp_path / "a.npz")


def test_one_pass_serves_calls_that_go_forward(tmp_path, monkeypatch):
    """After the first call, which tests the checksum, consecutive calls unpack the member once in all."""
    write(tmp_path / "a.npz", "packed rows")
    found, unpacked = open_embeddings(tmp_path / "a.npz"), []
    found.rows(slice(1))
    read1 = zipfile.ZipExtFile._read1
    monkeypatch.setattr(
        zipfile.ZipExtFile, "_read1", lambda file, n: unpacked.append(data := read1(file, n)) or data
    )
    for first in range(0, 400, 32):
        found.rows(slice(first, first + 32))
    assert ROWS.nbytes <= sum(map(len, unpacked)) <= ROWS.nbytes + 1000
