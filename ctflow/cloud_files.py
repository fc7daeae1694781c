"""Clouds in .safetensors files; used as `ct.io.save_clouds` and `ct.io.load_clouds`."""

import os
from typing import Any

import numpy as np

from ctflow.clouds import Pair, WeightedCloud, check_clouds
from ctflow.storage.folders import atomic


def save_clouds(path: str | os.PathLike[str], clouds: Any) -> None:
    """Write a cloud or a Pair, with its weights, to a .safetensors file."""
    from safetensors.numpy import save

    clouds = check_clouds("clouds", clouds)
    if type(clouds) is tuple:
        raise ValueError("clouds must be one cloud or a ct.Pair, got a tuple")
    parts = clouds._asdict() if isinstance(clouds, Pair) else {"cloud": clouds}
    tensors = {}
    for name, cloud in parts.items():
        fields = cloud._asdict() if isinstance(cloud, WeightedCloud) else {"points": cloud}
        tensors |= {f"{name}.{field}": np.ascontiguousarray(a) for field, a in fields.items()}
    with atomic(path) as file:
        file.write(save(tensors))


def load_clouds(path: str | os.PathLike[str]) -> Any:
    """Read a cloud or a Pair that `save_clouds` wrote.

    Raises:
        ValueError: the file was not written by `save_clouds`, or its points are not on a sphere.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} must be a .safetensors file of clouds ({error})") from None
    parts: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        part, _, field = name.partition(".")
        parts.setdefault(part, {})[field] = tensor
    kinds = ({"points"}, {"points", "weights"})
    if set(parts) not in ({"cloud"}, {"x", "y"}) or any(set(f) not in kinds for f in parts.values()):
        raise ValueError(
            f"{str(path)!r} must hold `cloud.points`, or `x.points` and `y.points`, each with or without "
            f"`weights`; got {', '.join(tensors)}"
        )
    clouds = {
        name: WeightedCloud(fields["points"], fields["weights"]) if "weights" in fields else fields["points"]
        for name, fields in parts.items()
    }
    return check_clouds("clouds", clouds["cloud"] if "cloud" in clouds else Pair(**clouds))
