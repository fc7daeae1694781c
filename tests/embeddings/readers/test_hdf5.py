"""HDF5: each chunk unpacked once, within its size, and nothing read from any other file."""

import zlib

import h5py
import numpy as np
import pytest

from ctflow.embeddings import open_embeddings, open_pair
from ctflow.embeddings.readers import hdf5_chunks, parts
from tests.embeddings.test_embeddings import unit

N, D = 523, 11
ROWS = unit(np.random.default_rng(7).standard_normal((N, D)))


def write(path, rows=ROWS, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("e", data=rows, **options)
    return path


@pytest.fixture
def unpacked(monkeypatch):
    """The sizes of all chunks that are unpacked."""
    sizes, undo = [], hdf5_chunks.unfiltered
    monkeypatch.setattr(
        hdf5_chunks, "unfiltered", lambda raw, filters, size: sizes.append(size) or undo(raw, filters, size)
    )
    return sizes


def count_chunks(rows, chunks):
    return len(np.unique(rows // chunks[0])) * -(-D // chunks[1])


CHUNKS = [(40, 11), (1, 11), (97, 4), (523, 1), (523, 11), (600, 30)]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("chunks", CHUNKS)
def test_a_chunk_is_unpacked_once_per_call(chunks, kept, unpacked, tmp_path, monkeypatch):
    """Whatever its size beside HDF5's cache, the rows' order, and the blocks that rows are copied in."""
    if not kept:
        monkeypatch.setattr(parts, "worth_keeping", lambda size, stored: False)
        monkeypatch.setattr(hdf5_chunks, "worth_keeping", lambda size, stored: False)
    monkeypatch.setattr("ctflow.embeddings.rows._BLOCK_BYTES", 500)
    monkeypatch.setattr(parts, "BLOCK_BYTES", 500)
    path = write(tmp_path / "a.h5", chunks=chunks, maxshape=(None, None), compression="gzip", shuffle=True)
    for seed, k in ((0, 9), (1, 150), (2, 523)):
        rows = np.random.default_rng(seed).permutation(N)[:k]
        unpacked.clear()
        np.testing.assert_allclose(open_embeddings(path).rows(rows), ROWS[rows], atol=1e-15)
        assert len(unpacked) == count_chunks(rows, chunks)
        assert set(unpacked) == {chunks[0] * chunks[1] * 8}


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("method", ["rows", "fingerprints"])
def test_consecutive_calls_unpack_a_chunk_once_in_all(chunks, method, unpacked, tmp_path):
    found = open_embeddings(write(tmp_path / "a.h5", chunks=chunks, maxshape=(None, None), compression=4))
    pieces = [getattr(found, method)(slice(first, first + 37)) for first in range(0, N, 37)]
    np.testing.assert_array_equal(np.concatenate(pieces), getattr(found, method)(slice(None)))
    once = count_chunks(np.arange(N), chunks)
    bands = -(-N // chunks[0])
    assert len(unpacked) <= once + (once if bands > 1 else 0)


def test_fingerprints_in_blocks_unpack_a_chunk_once(unpacked, tmp_path, monkeypatch):
    monkeypatch.setattr("ctflow.embeddings.rows._BLOCK_BYTES", 300)
    found = open_embeddings(write(tmp_path / "a.h5", chunks=(N, 3), compression="gzip"))
    assert len(set(found.fingerprints(slice(None)).tolist())) == N
    assert len(unpacked) == 4


STORED = {
    "contiguous": {},
    "plain chunks": {"chunks": (50, 7)},
    "gzip": {"chunks": (50, 7), "compression": "gzip"},
    "all": {"chunks": (50, 7), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "checksums": {"chunks": (51, 11), "fletcher32": True},
    "shuffle": {"chunks": (51, 11), "shuffle": True},
    "lzf": {"chunks": (50, 7), "compression": "lzf", "shuffle": True},
    "automatic chunks": {"chunks": True, "compression": 9},
}


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", ">f8"])
@pytest.mark.parametrize("kind", STORED)
def test_every_way_of_storing_gives_the_rows(kind, dtype, tmp_path):
    path = write(tmp_path / "a.h5", ROWS.astype(dtype), **STORED[kind])
    rows = np.random.default_rng(3).permutation(N)[:99]
    expected = unit(ROWS.astype(dtype).astype(float))
    np.testing.assert_allclose(open_embeddings(path).rows(rows), expected[rows], atol=1e-7)
    np.testing.assert_allclose(open_embeddings(path).rows(slice(None)), expected, atol=1e-7)


def test_unusual_places_give_the_rows(tmp_path, monkeypatch):
    """Before the data a block of the user's; in the header; large chunks that are not compressed."""
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024) as file:
        file["e"] = ROWS
    small = unit(np.eye(5, 3) + 0.5)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((5, 3))
        h5py.Dataset(h5py.h5d.create(file.id, b"e", h5py.h5t.NATIVE_DOUBLE, space, plist))[:] = small
    write(tmp_path / "c.h5", chunks=(300, 11))
    monkeypatch.setattr(parts, "BLOCK_BYTES", 1000)
    for name, rows in (("a.h5", ROWS), ("b.h5", small), ("c.h5", ROWS)):
        found = open_embeddings(tmp_path / name)
        np.testing.assert_allclose(found.rows(slice(None)), rows, atol=1e-15)
        np.testing.assert_allclose(found.rows(np.array([4, 0, 2])), rows[[4, 0, 2]], atol=1e-15)


OTHER = unit(np.random.default_rng(8).standard_normal((N, D)))
BOTH = {
    "one side": {"chunks": (1, 50, 7), "compression": "gzip"},
    "both sides": {"chunks": (2, 50, 7), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "beyond both sides": {"chunks": (3, 600, 30), "compression": "gzip", "maxshape": (None, None, None)},
    "one chunk": {"chunks": (2, N, D), "compression": 9},
    "one chunk per side": {"chunks": (1, N, D), "shuffle": True},
    "lzf": {"chunks": (2, 40, 11), "compression": "lzf", "shuffle": True},
    "automatic chunks": {"chunks": True, "compression": "lzf"},
    "without filters": {"chunks": (2, 100, 11)},
}


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
@pytest.mark.parametrize("kind", BOTH)
def test_both_sides_of_a_chunked_dataset(kind, dtype, kept, tmp_path, monkeypatch):
    """Also where the chunks without filters are larger than what is unpacked at once."""
    if not kept:
        monkeypatch.setattr(hdf5_chunks, "worth_keeping", lambda size, stored: False)
    monkeypatch.setattr(parts, "BLOCK_BYTES", 1000)
    sides = [rows.astype(dtype) for rows in (ROWS, OTHER)]
    x, y = open_pair(write(tmp_path / "a.h5", np.stack(sides), **BOTH[kind]))
    for seed in (0, 1):  # in turn, as a diagnosis reads them
        rows = np.random.default_rng(seed).permutation(N)[:99]
        for z, side in zip((x, y), sides, strict=True):
            np.testing.assert_allclose(z.rows(rows), unit(side.astype(float))[rows], atol=1e-7)
    for z, side in zip((x, y), sides, strict=True):
        np.testing.assert_allclose(z.rows(slice(None)), unit(side.astype(float)), atol=1e-7)
    assert (x.shape, x.label, y.label) == ((N, D), "a[0]", "a[1]")


@pytest.mark.parametrize(("chunks", "most"), [((1, 40, 11), 14), ((2, 40, 11), 14), ((2, 97, 4), 18)])
def test_each_side_unpacks_a_chunk_once(chunks, most, unpacked, tmp_path):
    path = write(tmp_path / "a.h5", np.stack([ROWS, OTHER]), chunks=chunks, compression="gzip")
    for z in open_pair(path):
        unpacked.clear()
        z.rows(slice(None))
        assert len(unpacked) == most
        assert set(unpacked) == {int(np.prod(chunks)) * 8}


def test_chunks_of_both_sides_are_bounded_like_others(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", np.stack([ROWS, OTHER]), chunks=(2, 60, 11), compression="gzip")
    damage(path, lambda raw: zlib.compress(bytes(10**7)), (0, 60, 0))
    for z in open_pair(path):
        z.rows(slice(60))
        with pytest.raises(ValueError, match="unpacks to more than"):
            z.rows(slice(60, 62))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("e", (2, N, D), "f8", fillvalue=D**-0.5, chunks=(2, 60, 11))[1, :60] = OTHER[:60]
    x, y = open_pair(tmp_path / "b.h5")
    np.testing.assert_allclose(x.rows(slice(60, 200)), D**-0.5, atol=1e-15)
    np.testing.assert_allclose(y.rows(slice(60)), OTHER[:60], atol=1e-15)
    path = write(tmp_path / "c.h5", np.stack([ROWS, OTHER]), chunks=(2, N, D), compression="gzip")
    monkeypatch.setattr(parts, "host_bytes", lambda: 8 * 2 * N * D * 8 - 8)
    with pytest.raises(ValueError, match=r"a chunk \[2, 523, 11\] of 'e' unpacks to 89.9 KiB, at most 89.9"):
        open_pair(path)


def test_both_sides_of_numbers_that_numpy_lacks(tmp_path):
    space = h5py.h5s.create_simple((2, N, D))
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        h5py.Dataset(h5py.h5d.create(file.id, b"e", odd_float(), space))[:] = np.stack([ROWS, OTHER])
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((2, 60, 11))
    plist.set_deflate(4)
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        h5py.Dataset(h5py.h5d.create(file.id, b"e", odd_float(), space, plist))[:] = np.stack([ROWS, OTHER])
    for name in ("plain.h5", "packed.h5"):
        x, y = open_pair(tmp_path / name, normalize=True)
        np.testing.assert_allclose(x.rows(slice(None)), ROWS, atol=2e-6)
        np.testing.assert_allclose(y.rows(np.array([400, 3])), OTHER[[400, 3]], atol=2e-6)


@pytest.mark.parametrize("chunks", [None, (50, 4), (523, 11)])
def test_rows_that_were_never_written_are_the_fill_value(chunks, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        options = {} if chunks is None else {"chunks": chunks, "compression": "gzip"}
        dataset = file.create_dataset("e", (N, D), "f8", fillvalue=D**-0.5, **options)
        if chunks:
            dataset[:60] = ROWS[:60]
    found = open_embeddings(tmp_path / "a.h5").rows(slice(None))
    np.testing.assert_allclose(found[100:], D**-0.5, atol=1e-15)
    np.testing.assert_allclose(found[:60], ROWS[:60] if chunks else D**-0.5, atol=1e-15)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 1000, 360 * 2 + 7, 200_001])
def test_the_checksum_is_fletchers(length):
    """Its definition: a sum of big-endian words, and a sum of those sums, both modulo 65535."""
    raw = np.random.default_rng(length).integers(0, 256, length, np.uint8).tobytes()
    words = [int.from_bytes((raw[i : i + 2] + b"\0")[:2], "big") for i in range(0, length, 2)]
    total = running = 0
    for word in words:
        total = (total + word) % 65535
        running = (running + total) % 65535
    assert hdf5_chunks.fletcher32(memoryview(raw)) == (running, total)


def damage(path, change, chunk=(0, 0)):
    """Write a chunk again as it is stored, changed."""
    with h5py.File(path, "r+") as file:
        mask, raw = file["e"].id.read_direct_chunk(chunk)
        file["e"].id.write_direct_chunk(chunk, change(raw), mask)


DAMAGES = {
    "flipped": (lambda raw: raw[:50] + bytes([raw[50] ^ 1]) + raw[51:], "checksum is wrong"),
    "no checksum": (lambda raw: raw[:3], "a chunk is cut short"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_wrong_checksum_is_refused(case, tmp_path):
    change, words = DAMAGES[case]
    path = write(tmp_path / "a.h5", chunks=(60, 11), fletcher32=True)
    damage(path, change)
    with pytest.raises(ValueError, match=rf"a\.h5 must be a readable HDF5 file \(.*{words}"):
        open_embeddings(path).rows(slice(None))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: zlib.compress(bytes(10**7)), "unpacks to more than"),
        (lambda raw: zlib.compress(bytes(60 * 11 * 8 + 8)), "unpacks to 5288 bytes, not to 5280"),
        (lambda raw: zlib.compress(bytes(60 * 11 * 8 - 8)), "unpacks to 5272 bytes, not to 5280"),
        (lambda raw: raw[:-9], "a chunk is cut short"),
        (lambda raw: b"junk", "decompress"),
    ],
)
def test_a_chunk_of_another_size_is_refused(change, words, tmp_path):
    path = write(tmp_path / "a.h5", chunks=(60, 11), compression="gzip")
    damage(path, change, (60, 0))
    found = open_embeddings(path)
    found.rows(slice(60))
    with pytest.raises(ValueError, match=rf"a\.h5 must be a readable HDF5 file \(.*{words}"):
        found.rows(slice(60, 62))


def foreign(path, kind, filters):
    """A file of numbers of another kind, or with other filters, that h5py reads and writes all the same."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((60, 11))
    for code, values in filters:
        plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, values)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((N, D))
        h5py.Dataset(h5py.h5d.create(file.id, b"e", kind, space, plist))[:] = ROWS
    return path


def odd_float():
    """Four bytes with another exponent than NumPy's float32 has."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(31, 21, 10, 0, 21)
    kind.set_ebias(511)
    return kind


def test_numbers_that_numpy_lacks_are_left_to_hdf5(tmp_path):
    path = foreign(tmp_path / "a.h5", odd_float(), [(2, (4,)), (1, (1,))])
    np.testing.assert_allclose(open_embeddings(path, normalize=True).rows(slice(None)), ROWS, atol=2e-6)
    damage(path, lambda raw: zlib.compress(bytes(10**7)))
    with pytest.raises(ValueError, match="unpacks to more than"):
        open_embeddings(path, normalize=True).rows(slice(None))


LZF = (32000, (4, 261, 60 * 11 * 8))


def test_other_filters_are_left_to_hdf5_after_the_size_is_tested(tmp_path):
    path = foreign(tmp_path / "a.h5", h5py.h5t.NATIVE_DOUBLE, [LZF, (1, (1,))])
    np.testing.assert_allclose(open_embeddings(path).rows(slice(None)), ROWS, atol=1e-15)
    damage(path, lambda raw: zlib.compress(bytes(10**7)))
    with pytest.raises(ValueError, match="unpacks to more than"):
        open_embeddings(path).rows(slice(None))


@pytest.mark.parametrize("filters", [[(1, (1,)), LZF], [(1, (1,)), (2, (8,)), LZF], [(1, (1,)), (1, (1,))]])
def test_chunks_that_are_compressed_several_times_are_refused(filters, tmp_path):
    path = foreign(tmp_path / "a.h5", h5py.h5t.NATIVE_DOUBLE, filters)
    with pytest.raises(ValueError, match="chunks are compressed several times"):
        open_embeddings(path).rows(slice(None))


def test_large_chunks_are_refused_before_they_are_unpacked(unpacked, tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", chunks=(N, D), compression="gzip")
    monkeypatch.setattr(parts, "host_bytes", lambda: 8 * N * D * 8 - 8)
    with pytest.raises(
        ValueError, match=r"a chunk \[523, 11\] of 'e' unpacks to 44.9 KiB, at most 44.9 KiB may"
    ):
        open_embeddings(path)
    monkeypatch.setattr(parts, "host_bytes", lambda: 8 * N * D * 8)
    np.testing.assert_allclose(open_embeddings(path).rows(slice(9)), ROWS[:9], atol=1e-15)
    monkeypatch.setattr(parts, "_ALWAYS_BYTES", 1000)
    monkeypatch.setattr(parts, "host_bytes", lambda: 1 << 40)
    open_embeddings(path)  # unpacks to less than 16 times its size
    constant = write(tmp_path / "b.h5", np.tile(ROWS[0], (5000, 1)), chunks=(5000, D), compression="gzip")
    with pytest.raises(ValueError, match=r"b\.h5: a chunk .* write it in smaller chunks"):
        open_embeddings(constant)
    assert len(unpacked) == 1


def other_files(folder):
    """Files whose numbers lie in another one, each by its name, and the column that leads there."""
    write(folder / "other.h5")
    with h5py.File(folder / "other.h5", "r+") as file:
        file["group/e"] = ROWS
    ROWS.tofile(folder / "raw.bin")
    with h5py.File(folder / "external.h5", "w") as file:
        file.create_dataset("e", (N, D), "f8", external=[(str(folder / "raw.bin"), 0, ROWS.nbytes)])
    layout = h5py.VirtualLayout((N, D), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "e", (N, D))
    with h5py.File(folder / "virtual.h5", "w") as file:
        file.create_virtual_dataset("e", layout)
        file["within/e"] = h5py.SoftLink("/e")
    with h5py.File(folder / "links.h5", "w") as file:
        file["e"] = h5py.ExternalLink(str(folder / "other.h5"), "/e")
    with h5py.File(folder / "groups.h5", "w") as file:
        file["a/outside"] = h5py.ExternalLink(str(folder / "other.h5"), "/group")
        file["soft"] = h5py.SoftLink("/a/outside/e")
        file["longer"] = h5py.SoftLink("a/outside")
    with h5py.File(folder / "good.h5", "w") as file:
        file["b/good"] = ROWS
        file["a"] = h5py.ExternalLink(str(folder / "other.h5"), "/e")
        file["soft"] = h5py.SoftLink("/b/good")
        file["c/up"] = h5py.SoftLink("/soft")
        file["hard"] = file["b"]


LINK = r"an external link to .*other\.h5"
OUTSIDE = [
    ("external.h5", None, "a dataset with external storage"),
    ("virtual.h5", None, "a virtual dataset"),
    ("virtual.h5", "within/e", "a virtual dataset"),
    ("links.h5", None, LINK),
    ("links.h5", "e", LINK),
    ("groups.h5", None, LINK),
    ("groups.h5", "a/outside", LINK),
    ("groups.h5", "a/outside/e", LINK),
    ("groups.h5", "soft", LINK),
    ("groups.h5", "longer/e", LINK),
    ("good.h5", "a", LINK),
]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(("name", "column", "reason"), OUTSIDE)
def test_no_other_file_is_read(name, column, reason, there, tmp_path):
    other_files(tmp_path)
    if not there:
        (tmp_path / "other.h5").unlink()
        (tmp_path / "raw.bin").unlink()
    words = rf"{name} must hold its numbers itself, got .*{reason}.*; no other file is read: copy the numbers"
    with pytest.raises(ValueError, match=words):
        open_embeddings(tmp_path / name, column=column)


@pytest.mark.parametrize("column", [None, "b/good", "soft", "c/up", "hard/good", "/b/good"])
def test_links_inside_a_file_are_followed(column, tmp_path):
    """And a link to another file beside the numbers does no harm."""
    other_files(tmp_path)
    found = open_embeddings(tmp_path / "good.h5", column=column)
    np.testing.assert_allclose(found.rows(slice(None)), ROWS, atol=1e-15)


@pytest.mark.parametrize("column", ["none", "b/none", "b/good/more", "b", "c", "loop", "gone"])
def test_links_that_lead_nowhere_are_refused(column, tmp_path):
    other_files(tmp_path)
    with h5py.File(tmp_path / "good.h5", "r+") as file:
        file["loop"] = h5py.SoftLink("/loop")
        file["gone"] = h5py.SoftLink("/not/there")
    words = "more than 16 soft links" if column == "loop" else f"has no array '{column}'; it holds"
    with pytest.raises(ValueError, match=words):
        open_embeddings(tmp_path / "good.h5", column=column)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((10**12, 4), "must hold the rows in its header, got .* for 1000000000000 rows"),
        ((4, 10**8), "one row unpacks to 381 MiB, at most 128 MiB may"),
    ],
)
def test_more_than_the_file_could_hold_is_refused(shape, words, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("e", shape, "f4", fillvalue=0.5, chunks=(4, 4))
    with pytest.raises(ValueError, match=rf"a\.h5:? {words}"):
        open_embeddings(tmp_path / "a.h5")
