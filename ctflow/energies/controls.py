"""Energies to add to a loss that hold two clouds together or spread each: penalties of a gap."""

from dataclasses import KW_ONLY
from typing import Any

import jax.numpy as jnp

from ctflow._base.annotations import Real
from ctflow._base.pytree import converted, positive
from ctflow.clouds import points, weights
from ctflow.energies.parts import check_pair, mean_kernel
from ctflow.energy import Energy
from ctflow.kernels import ChordalDistance, ChordalGaussian, Kernel, as_kernel


class MaximumMeanDiscrepancy(Energy):
    """MMD² = E κ(x, x') + E κ(y, y') - 2E κ(x, y) of two clouds as measures, >= 0 (Gretton et al. 2012).

    Args:
        kernel: κ, positive definite, such as `ct.kernels.ChordalGaussian(0.5)`.
    """

    kernel: Kernel = converted(converter=as_kernel)

    def terms(self, clouds):
        """`mmd_squared`: MMD² of the two clouds."""
        return {"mmd_squared": _discrepancy(self.kernel, *clouds)}

    def check(self, clouds):
        """Raise ValueError unless there are two clouds."""
        check_pair(clouds)


class EnergyDistance(Energy):
    """2E‖x-y‖ - E‖x-x'‖ - E‖y-y'‖ of two clouds as measures, with distances √(‖x-y‖² + ε²).

    Where x_i = y_i the distance itself has a corner, so at overlap of finitely many points its curvature is
    infinite. The softening ε removes the corner; for ε far above the distances between neighbours the
    curvature is that of many points.

    Args:
        softening: ε > 0, in chordal distance.
    """

    _: KW_ONLY
    softening: Real = positive()

    def terms(self, clouds):
        """`energy_distance`: the softened energy distance of the two clouds."""
        return {"energy_distance": _discrepancy(ChordalDistance(self.softening), *clouds)}

    def check(self, clouds):
        """Raise ValueError unless there are two clouds."""
        check_pair(clouds)


class Uniformity(Energy):
    """½Σ_a log E e^{-t‖z-z'‖²}, the uniformity of each of two clouds (arXiv 2005.10242): it spreads both.

    Args:
        exponent: t > 0.
    """

    _: KW_ONLY
    exponent: Real = positive(default=2.0)

    def terms(self, clouds):
        """`uniformity_1` and `uniformity_2`, each ½ log E e^{-t‖z-z'‖²}."""
        kernel = ChordalGaussian(jnp.sqrt(1 / (2 * jnp.asarray(self.exponent))))
        return {
            f"uniformity_{number}": jnp.log(mean_kernel(kernel, cloud, cloud)) / 2
            for number, cloud in zip("12", clouds, strict=True)
        }

    def check(self, clouds):
        """Raise ValueError unless there are two clouds."""
        check_pair(clouds)


class CentroidGap(Energy):
    """‖x̄ - ȳ‖², the squared distance between the means of two clouds."""

    def terms(self, clouds):
        """`squared_centroid_gap`: ‖x̄ - ȳ‖²."""
        means = [jnp.matmul(weights(cloud), points(cloud), precision="highest") for cloud in clouds]
        return {"squared_centroid_gap": jnp.sum((means[0] - means[1]) ** 2)}

    def check(self, clouds):
        """Raise ValueError unless there are two clouds."""
        check_pair(clouds)


def _discrepancy(kernel: Any, x: Any, y: Any) -> Any:
    return mean_kernel(kernel, x, x) + mean_kernel(kernel, y, y) - 2 * mean_kernel(kernel, x, y)
