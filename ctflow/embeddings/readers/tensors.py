"""Reader of PyTorch's .pt and .pth: tensors only, by its weights-only loader, which runs no code."""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.readers.parts import Memory, check_numbers, choose, extra, share_of_memory
from ctflow.storage.reading import readable

_PICKLE_BYTES = 1 << 24
_SAVE = "torch.save({'image': image, 'text': text}, path)"
_DEEPEST = 4


def tensors(path: Path, column: str | None) -> Memory:
    """Load one tensor of a file that `torch.save` wrote; it is a tensor, or a dict or list of tensors.

    All tensors of the file are loaded, so the file may take at most an eighth of the memory.

    Raises:
        ValueError: the file holds other objects, is damaged, compressed or too large.
    """
    name = str(path)
    torch: Any = extra("torch", "torch", name)
    _check_archive(path)
    with readable(name, "file of torch.save"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                "it holds objects other than tensors, which are not loaded because they could run code; "
                f"save the tensors alone, {_SAVE}"
            ) from error
        except Exception as error:  # the loader raises any exception for a damaged file
            raise ValueError(str(error) or type(error).__name__) from error
    found = _tensors(torch, _stacked(torch, content), "", 0)
    if not found:
        raise ValueError(f"{path} must hold tensors, got {type(content).__name__}; save it with {_SAVE}")
    dtypes = {key: str(tensor.dtype).removeprefix("torch.") for key, tensor in found.items()}
    key = choose(name, {key: (tuple(tensor.shape), dtypes[key]) for key, tensor in found.items()}, column)
    check_numbers(name, dtypes[key])
    if found[key].layout != torch.strided:
        raise ValueError(f"{path} must hold dense tensors, got {key!r} of layout {found[key].layout}")
    return Memory(name, to_numpy(found[key]))


def to_numpy(tensor: Any) -> np.ndarray:
    """A dense tensor as an array that views its memory if it is on the CPU; bfloat16 needs ml_dtypes."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if str(tensor.dtype) != "torch.bfloat16":
        return tensor.numpy()
    import ml_dtypes
    import torch

    return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)


def _check_archive(path: Path) -> None:
    """Raise ValueError unless the file is an archive without compression, which cannot unpack to more."""
    size = path.stat().st_size
    if size > share_of_memory():
        raise ValueError(
            f"{path} must take at most an eighth of the memory, {share_of_memory()} bytes, got {size}; save "
            "it with safetensors.torch.save_file, which is read piece by piece"
        )
    with readable(str(path), "file of torch.save (PyTorch 1.6 or later)", RuntimeError, KeyError):
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no zip archive; other pickles are never loaded")
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                    raise ValueError(f"{info.filename} is compressed; torch.save does not compress")
                if info.filename.endswith("data.pkl") and info.file_size > _PICKLE_BYTES:
                    raise ValueError(f"{info.filename} has more than {_PICKLE_BYTES} bytes")


def _stacked(torch: Any, content: Any) -> Any:
    """A list of vectors of one length as a tensor; anything else as it is."""
    if not isinstance(content, list | tuple) or len(content) < 2:
        return content
    shapes = {tuple(item.shape) if isinstance(item, torch.Tensor) else None for item in content}
    rows = len(shapes) == 1 and all(shape is not None and len(shape) == 1 for shape in shapes)
    return torch.stack(list(content)) if rows else content


def _tensors(torch: Any, content: Any, key: str, depth: int) -> dict[str, Any]:
    """The tensors in nested dicts and lists, by their keys joined with slashes."""
    if isinstance(content, torch.Tensor):
        return {key or "tensor": content}
    if isinstance(content, dict) and depth < _DEEPEST:
        items = list(content.items())
    elif isinstance(content, list | tuple) and depth < _DEEPEST:
        items = list(enumerate(content))
    else:
        return {}
    found = {}
    for name, value in items:
        found |= _tensors(torch, value, f"{key}/{name}".lstrip("/"), depth + 1)
    return found
