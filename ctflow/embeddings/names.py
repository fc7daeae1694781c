"""Names of the two modalities in everything that is shown: sentences, tables, pictures and pages."""

from pathlib import PurePath
from typing import Any

from ctflow.embeddings import Embeddings

LETTERS = ("x", "y")
_LONGEST = 120


def names_of(x: Embeddings, y: Embeddings, given: Any = None) -> tuple[str, str]:
    """The names to show: those given, else the embeddings' labels if these tell them apart, else x and y.

    Args:
        x: the first modality.
        y: the second modality.
        given: two different names, or None.

    Raises:
        ValueError: `given` is not a pair of different names.
    """
    if given is not None:
        return check_names(given)
    # Files of one name are told apart by the folders they are in.
    for of in (lambda z: z.label, lambda z: PurePath(z.name).parent.name):
        labels = printable(of(x)), printable(of(y))
        if labels[0] != labels[1] and all(labels) and not set(labels) & set(LETTERS):
            return labels
    return LETTERS


def check_names(given: Any) -> tuple[str, str]:
    """Two different names without control characters, of at most 120 characters.

    Raises:
        ValueError: these are not two such names.
    """
    pair = tuple(given) if isinstance(given, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(name, str) for name in pair):
        raise ValueError(f'names must be two names such as ("image", "text"), got {given!r}')
    for name in pair:
        if not 0 < len(name.strip()) <= _LONGEST or printable(name) != name:
            raise ValueError(
                f"names must have 1 to {_LONGEST} characters and no control characters, got {name!r}; "
                "give shorter plain names"
            )
    if pair[0] == pair[1]:
        raise ValueError(f"names must differ, got {pair[0]!r} twice; give each modality its own name")
    return pair[0], pair[1]


def names_in_messages(given: Any) -> tuple[str, str]:
    """Names of arrays in messages: those given, else x and y."""
    return LETTERS if given is None else check_names(given)


def printable(name: str) -> str:
    """The name with characters that a terminal would obey, such as escape sequences, replaced by �."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name)


def short(name: str, most: int = 24) -> str:
    """The name, with its middle left out if it is longer than `most` characters."""
    if len(name) <= most:
        return name
    kept = most - 1
    return f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"


_SIDES = {"x": 0, "y": 1}


def label_of(metric: str, names: tuple[str, str], most: int = 24) -> str:
    """What to call a number of a report: `recall@1_x_to_y` is "recall@1 image → text".

    Args:
        metric: key of the number.
        names: names of the modalities.
        most: longest name that is shown in full.
    """
    a, b = (short(name, most) for name in names)
    for way, sides in (("_x_to_y", f" {a} → {b}"), ("_y_to_x", f" {b} → {a}")):
        if metric.endswith(way):
            return metric.removesuffix(way).replace("_", " ") + sides
    stem, _, side = metric.rpartition("_")
    if side in _SIDES:
        return f"{stem.replace('_', ' ')} {(a, b)[_SIDES[side]]}"
    if side in ("12", "21"):
        first, second = (a, b) if side == "12" else (b, a)
        return f"free energy {first}" if stem == "free_energy" else f"divergence {first} ‖ {second}"
    special = {
        "centroid_gap": f"centroid gap ‖{a} − {b}‖",
        "mmd2": "MMD²",
        "mmd2_half": "MMD², ½ bandwidth",
        "mmd2_twice": "MMD², 2 × bandwidth",
        "linear_separability": "linear separability (AUC)",
        "in_batch_loss": "in-batch InfoNCE loss",
        "energy": "energy J^Sym + log V",
    }
    return special.get(metric, metric.replace("_", " "))
