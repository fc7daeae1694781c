"""Every public name has one entry in docs/api, and signatures there read well. Needs no Sphinx."""

import re
import sys
from collections import Counter
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from jaxtyping import Array, Float

import ctflow as ct
from ctflow._base.annotations import AnyArray, Real
from tests.test_public_names import SINCE

DOCS = Path(__file__).parents[2] / "docs"
sys.path.append(str(DOCS))

import signatures  # noqa: E402  a module of docs/

TEXT = {path.name: path.read_text() for path in sorted((DOCS / "api").glob("*.md"))}


@cache
def found(path):
    """The object at a dotted path: a module, or what a module holds under that name."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name) if module else import_module(path)


@cache
def entries():
    """Paths after `.. autofunction::` and the like; `.. py:data::` may have several, one per line."""
    pattern = r"^\.\. (?:auto\w+|py:\w+):: (\S+)((?:\n {4,}ctflow\.\S+)*)$"
    matches = [m for text in TEXT.values() for m in re.finditer(pattern, text, re.MULTILINE)]
    return [path for m in matches for path in (m[1], *m[2].split()) if m[1].startswith("ctflow")]


def public():
    """Paths of all public names."""
    listed = [
        (module, name) for names in SINCE.values() for module, all_ in names.items() for name in all_.split()
    ]
    return [".".join(filter(None, ("ctflow", *parts))) for parts in listed]


def is_value(value):
    """Whether equal objects are one: constants such as colours, and unions such as `Cloud`."""
    return not (callable(value) or type(value).__name__ == "module") or hasattr(value, "__args__")


def same(path):
    """The entries of an object, under this path or another."""
    value = found(path)
    return [entry for entry in entries() if entry == path or (not is_value(value) and found(entry) is value)]


def test_every_public_name_has_an_entry():
    missing = [path for path in public() if not same(path)]
    assert not missing


def test_second_names_are_on_a_page_beside_the_first():
    for path in public():
        if path not in entries() and type(found(path)).__name__ != "module":
            link = f"`{path} <{same(path)[0]}>`"
            assert any(link in text for text in TEXT.values()), f"no page of docs/api has {link}"


def test_no_name_has_two_entries():
    assert not [path for path, count in Counter(entries()).items() if count > 1]
    values = Counter(id(found(path)) for path in entries() if not is_value(found(path)))
    assert not [path for path in entries() if values[id(found(path))] > 1]


def test_links_of_pages_lead_to_entries():
    links = {
        link for text in TEXT.values() for link in re.findall(r"\{py:\w+\}`(?:[^`<]*<)?([\w.]+)>?`", text)
    }
    assert len(links) > 10
    assert links <= set(entries())


def test_index_lists_every_page():
    listed = re.findall(r"\]\((\w+\.md)\)", TEXT["index.md"])
    assert sorted(listed) == sorted(set(TEXT) - {"index.md"})
    assert all(f"\n{name.removesuffix('.md')}\n" in TEXT["index.md"] for name in listed)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Float[Array, "n d"], "Float[Array, 'n d']"),
        (Float[AnyArray, "n d"] | None, "Float[Array, 'n d'] | None"),
        (Real, "Scalar"),
        (Real | None, "Scalar | None"),
        (tuple[Real, ...], "tuple[Scalar, ...]"),
        (ct.clouds.Cloud, "~ctflow.clouds.Cloud"),
        (ct.clouds.Clouds | ct.State, "~ctflow.clouds.Clouds | ~ctflow.flows.State"),
        (ct.Solution, "~ctflow.Solution"),
    ],
)
def test_annotations_are_shown_by_their_names(annotation, text):
    assert signatures.annotation_text(annotation) == text


def test_no_signature_shows_what_only_a_machine_reads():
    for path in entries():
        value = found(path)
        if not callable(value) or is_value(value) or (isinstance(value, type) and issubclass(value, Warning)):
            continue
        text = " ".join(signatures.signature_texts(value, bound=False))
        assert not re.search(r"jaxlib|numpy|typing|ndarray|\bAny\b(?!\])|<|0x", text), f"{path}{text}"


def test_signatures_of_methods_leave_out_self():
    text, returned = signatures.signature_texts(ct.energies.Energy.terms, bound=True)
    assert text == "(clouds: ~ctflow.clouds.Clouds)"
    assert returned == "dict[str, Float[Array, '']]"


def test_pipes_are_escaped_outside_of_code_only():
    lines = ["the norm |z|, as `a | b`", ">>> a | b"]
    signatures.process_docstring(None, "function", "f", None, None, lines)
    assert lines == [r"the norm \|z\|, as `a | b`", ">>> a | b"]


def test_colons_of_attributes_are_hidden_from_napoleon_and_return():
    lines = ["Three sentences: is there a gap"]
    signatures.hide_colons(None, "property", "verdict", None, None, lines)
    assert ":" not in lines[0]
    signatures.process_docstring(None, "property", "verdict", None, None, lines)
    assert lines == ["Three sentences: is there a gap"]
