"""Names in an HDF5 file: its datasets, and the links to them. Links that leave the file are not followed."""

import re
from typing import Any, NamedTuple

_MOST_HOPS = 16


class Listing(NamedTuple):
    """The contents of a file, by name."""

    found: dict[str, tuple[tuple[int, ...], str]]
    """Shape and dtype of each dataset."""
    outside: dict[str, str]
    """For datasets or groups in other files: how the file refers to them, in words."""

    def note(self, key: str, dataset: Any) -> None:
        """Add a dataset."""
        self.found[key] = (dataset.shape or (), _dtype_name(dataset))
        if reason := _other_files(dataset):
            self.outside[key] = reason

    def note_outside(self, key: str, reason: str) -> None:
        """Add the name of something in another file."""
        self.found[key] = ((), reason)
        self.outside[key] = reason

    def check_inside(self, name: str, key: str) -> None:
        """Raise ValueError if the numbers of this key are in another file than `name`."""
        if key in self.outside:
            raise ValueError(
                f"{name} must hold its numbers itself, got {key!r}, {self.outside[key]}; no other file is "
                "read: copy the numbers into one file"
            )


def find(h5py: Any, file: Any, column: str | None) -> tuple[Listing, str | None]:
    """All datasets and all links to other files, and the name of the dataset to which `column` leads.

    Args:
        h5py: the module.
        file: the open file.
        column: path to a dataset, perhaps through soft links; it is returned unchanged if it leads nowhere.

    Raises:
        ValueError: there are too many soft links in the path.
    """
    listing = Listing({}, {})

    def note(key: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            listing.note(key, node)

    def note_link(key: bytes, link: Any) -> None:
        if link.type not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
            listing.note_outside(key.decode(), _target(h5py, file, key, link))

    file.visititems(note)
    file.id.links.visit(note_link, info=True)
    if column is not None and column not in listing.found:
        column = _follow(h5py, file, column, listing) or column
    return listing, column


def _target(h5py: Any, file: Any, key: bytes, link: Any) -> str:
    """Describe a link that leads out of the file."""
    if link.type != h5py.h5l.TYPE_EXTERNAL:
        return "a link of an unknown kind"
    other = file.id.links.get_val(key)[0].decode(errors="replace")
    return f"an external link to {re.sub('[^ -~]', '?', other)}"


def _follow(h5py: Any, file: Any, path: str, listing: Listing) -> str | None:
    """Resolve the soft links in a path and return the dataset's own path; None if there is no dataset.

    A path through an external link is recorded in `listing.outside` under the requested name.
    """
    kinds, links, hops = h5py.h5l, file.id.links, 0
    done, words = "", _words(path)
    while words:
        here = f"{done}/{words.pop(0)}".lstrip("/")
        key = here.encode()
        if not isinstance(file[done or "/"], h5py.Group) or not links.exists(key):
            return None
        link = links.get_info(key)
        if link.type == kinds.TYPE_HARD:
            done = here
        elif link.type == kinds.TYPE_SOFT:
            target = links.get_val(key).decode()
            done, words = "" if target.startswith("/") else done, _words(target) + words
            if (hops := hops + 1) > _MOST_HOPS:
                raise ValueError(f"{path!r} goes through more than {_MOST_HOPS} soft links")
        else:
            listing.note_outside(path, _target(h5py, file, key, link))
            return path
    if done not in listing.found and isinstance(node := file[done or "/"], h5py.Dataset):
        listing.note(done, node)
    return done if done in listing.found else None


def _words(path: str) -> list[str]:
    """The names in a path."""
    return [word for word in path.split("/") if word not in ("", ".")]


def _dtype_name(dataset: Any) -> str:
    """NumPy's name of the dtype, or a description of a type that NumPy lacks."""
    try:
        return dataset.dtype.name
    except TypeError as error:  # h5py raises it for a type that NumPy lacks
        return f"numbers of another kind ({error})"


def _other_files(dataset: Any) -> str | None:
    """If a dataset's numbers are in other files: how it refers to them, in words; else None."""
    if dataset.is_virtual:
        return "a virtual dataset, made of parts of other files"
    if dataset.external is not None:
        return "a dataset with external storage in other files"
    return None
