"""How a cloud moves down an energy: one step at a time.

A flow has `init(clouds, key) → State` and `step(energy, state) → State`. Physical flows
(GradientFlow, Langevin, WassersteinFisherRao) advance time by `step_size` per step; `Descent` only counts
iterations.
"""

import inspect
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Int

from ctflow import sphere
from ctflow._base.annotations import AnyArray, Real
from ctflow._base.checks import check_key
from ctflow._base.pytree import Registered, converted, positive, static
from ctflow.clouds import Clouds, Pair, WeightedCloud, check_clouds, points, weights, with_points
from ctflow.energies import log_density
from ctflow.kernels import Kernel, as_kernel
from ctflow.partition.plan import check_kernel
from ctflow.partition.staged import proven

__all__ = [
    "Descent",
    "Flow",
    "GradientFlow",
    "Langevin",
    "PhysicalFlow",
    "State",
    "WassersteinFisherRao",
    "move",
    "velocity",
]


class State(NamedTuple):
    """The state of a flow.

    Attributes:
        clouds: the clouds that move.
        step: number of steps done, int32.
        key: the run's random key, or None. Step k uses fold_in(key, k), so the result does not depend on how
            the run is cut into chunks.
        memory: an optimizer's state, or None.
        finite: False if a step came out non-finite; the clouds are then those before that step.
    """

    clouds: Any
    step: Int[AnyArray, ""]
    key: Any
    memory: Any
    finite: Bool[Array, ""]


def velocity(energy: Any, clouds: Clouds) -> Any:
    """Wasserstein velocity ż_i = -(1/w_i) P_{z_i} ∂E/∂z_i of every point, shaped like the points.

    With the factor 1/w_i (n for equal weights) the motion does not depend on the number of particles. A
    point of weight 0 does not move.

    Raises:
        ValueError: the energy does not accept such clouds, or they are not on the sphere.
    """
    clouds = check_clouds("clouds", clouds)
    z = points(clouds)
    return rescaled(jax.grad(lambda moved: energy(with_points(clouds, moved)))(z), clouds)


def rescaled(gradient: Any, clouds: Clouds) -> Any:
    """The velocity of clouds whose energy has this gradient in the points."""

    def of(z, g, w):
        scale = jnp.where(w > 0, 1 / jnp.where(w > 0, w, 1), 0)
        return -scale[:, None] * sphere.project_tangent(z, g)

    return jax.tree.map(of, points(clouds), gradient, weights(clouds))


jitted_velocity = partial(proven, jax.jit(velocity))


def move(clouds: Clouds, displacement: Any) -> Any:
    """The clouds with every point moved along the geodesic of its tangent displacement."""

    def walk(z, v):  # a step size of another precision does not change the points'
        return sphere.exp_map(z, v.astype(z.dtype))

    return with_points(clouds, jax.tree.map(walk, points(clouds), displacement))


class Flow(Registered, abstract=True):
    """Base class of flows: how clouds move by one step."""

    stochastic: ClassVar[bool] = False
    # Steps of a physical flow settle while step_size · (fastest rate of the energy) is below this; those of
    # a stochastic one also reach its law, up to a tenth of the variance.
    stable_below: ClassVar[float | None] = None

    def __init_subclass__(cls, **options: Any):
        for name in ("stochastic", "stable_below"):
            if name in inspect.get_annotations(cls):
                raise TypeError(
                    f"{cls.__name__}.{name} must be a constant of the class, not a setting; write "
                    f"{name} = {getattr(cls, name)!r} without an annotation"
                )
        super().__init_subclass__(**options)

    def own_rate(self, d: int) -> float:
        """The rate, 1/time, of the flow's own noise or reaction on S^{d-1}, whatever the energy."""
        return 0.0

    def init(self, clouds: Clouds, key: Array | None = None) -> State:
        """The state at step 0.

        Raises:
            ValueError: a stochastic flow without a key; points off the sphere.
        """
        if self.stochastic and key is None:
            raise ValueError(f"key is required by {type(self).__name__}; pass key=jax.random.key(seed)")
        if key is not None:
            check_key("key", key)
        clouds = check_clouds("clouds", clouds)
        return State(clouds, jnp.zeros((), jnp.int32), key, None, jnp.ones((), bool))

    def step(self, energy: Any, state: State) -> State:
        """One step down the energy."""
        raise NotImplementedError(f"{type(self).__name__} must define step(energy, state)")

    def time(self, steps: Any) -> Any:
        """The physical time after `steps` steps; None for a flow without time."""
        return None


class PhysicalFlow(Flow, abstract=True):
    """Base class of flows with a physical time. A subclass has a field `step_size`, the time per step."""

    step_size: Real

    def time(self, steps: Any) -> Any:
        """step_size · steps, in float64."""
        return np.asarray(self.step_size, np.float64) * np.asarray(steps)


class GradientFlow(PhysicalFlow):
    """Deterministic Wasserstein gradient flow dz/dt = velocity(E, z), by steps of order 1 or 4.

    Order 1 takes exponential Euler steps and is the cheaper way to an equilibrium. Order 4 takes steps of the
    classical Runge-Kutta method and is the cheaper way to accurate positions at a given time. It computes
    four velocities per step, in R^d, where points off the sphere have the velocity of z/|z|; each step ends
    with a projection to the sphere, which keeps the order (Hairer, Lubich, Wanner, Geometric Numerical
    Integration, section IV.4). Take such steps by `solve` or `evolve`: outside `jit` each is compiled anew.

    Args:
        step_size: time per step, > 0. The error at a given time falls as step_size^order. Steps are stable
            below 2 (order 1) or 2.785 (order 4) divided by the fastest rate of the energy. Near the uniform
            law a smoothed entropy whose kernel has temperature τ has rates of at most 4/(eτ), so steps of
            order 1 below eτ/2 are stable; a potential adds its own curvature.
        order: 1 or 4.

    Raises:
        ValueError: another order.

    Examples:
        >>> import jax.numpy as jnp
        >>> import ctflow as ct
        >>> up = ct.potentials.Linear([0.0, 1.0])
        >>> energy = ct.energies.Potential(up, temperature=1.0)
        >>> flow = ct.flows.GradientFlow(step_size=0.1)
        >>> state = flow.step(energy, flow.init(jnp.array([[1.0, 0.0]])))
        >>> round(float(state.clouds[0, 1]), 3), round(float(flow.time(state.step)), 3)
        (0.1, 0.1)
    """

    step_size: Real = positive()
    order: int = static(default=1)

    def __post_init__(self):
        integer = isinstance(self.order, int | np.integer) and not isinstance(self.order, bool)
        if not integer or self.order not in (1, 4):
            raise ValueError(f"order must be 1 (Euler) or 4 (Runge-Kutta), got {self.order!r}")

    @property
    def stable_below(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The largest x = step_size · rate with |1 - x| < 1, or with |1 - x + x²/2 - x³/6 + x⁴/24| < 1."""
        return 2.0 if self.order == 1 else 2.785

    def step(self, energy, state):
        """Follow the velocity for the time `step_size`."""
        if self.order == 1:
            return self.follow(state, velocity(energy, state.clouds))
        clouds = _runge_kutta(energy, state.clouds, self.step_size)
        return state._replace(clouds=clouds, step=state.step + 1)

    def follow(self, state: State, v: Any) -> State:
        """The step of order 1 along a known velocity v, shaped like the points."""
        displacement = jax.tree.map(lambda v: self.step_size * v, v)
        return state._replace(clouds=move(state.clouds, displacement), step=state.step + 1)


def _runge_kutta(energy: Any, clouds: Clouds, time: Real) -> Any:
    """One step of the classical method of order 4, as a loop over stages: one velocity is compiled."""
    start = points(clouds)
    dtype = jax.tree.leaves(start)[0].dtype

    def ahead(displacement):
        moved = jax.tree.map(jnp.add, start, displacement)
        onto = jax.tree.map(lambda z: z / jnp.linalg.norm(z, axis=1, keepdims=True), moved)
        return with_points(clouds, onto)

    def stage(carry, times):
        last, displacement = carry
        until, weight = times
        here = velocity(energy, ahead(jax.tree.map(lambda v: until * v, last)))
        return (here, jax.tree.map(lambda s, v: s + weight * v, displacement, here)), None

    at_rest = jax.tree.map(jnp.zeros_like, start)
    times = jnp.asarray([[0, 1 / 6], [1 / 2, 1 / 3], [1 / 2, 1 / 3], [1, 1 / 6]], dtype)
    times = times * jnp.asarray(time, dtype)
    (_, displacement), _ = jax.lax.scan(stage, (at_rest, at_rest), times)
    return ahead(displacement)


class Langevin(PhysicalFlow):
    """Langevin dynamics dz = velocity(E, z) dt + √2 dB on the sphere: the noise supplies the entropy.

    With E = `Potential(U, temperature=τ)` the law obeys the Fokker-Planck equation and tends to the Gibbs
    measure exp(-U/τ)/Z.

    A step is a Strang splitting: half a step of drift (midpoint rule), a step of Brownian motion, half a
    step of drift. The Brownian step is a geodesic walk of variance 2h/(1 + (d-2)h/3) per direction: on the
    curved sphere a walk of variance 2h would be too slow at second order, and the factor corrects this. The
    uniform law is preserved exactly. The error of the law is O(h²): in a well where U/τ has curvature k, the
    stationary variance is wrong by the factor 4a·r²/(1 - r⁴) = 1 - (hk)²/8 + O((hk)³), where a = hk/2 and
    r = 1 - a + a²/2. The factor is within a tenth of 1 up to h·k = 2, 2.8 at h·k = 3, and infinite at 4. In
    a gentle potential the noise is the limit: it must not carry a point too far before U is evaluated again.
    Under U = -z_1 at τ = 1 in d = 3 the mean height is wrong by 3 % at h(d-1) = 0.9, by 10 % at 2 and by 31 %
    at 3.8.

    Args:
        step_size: time h per step, > 0; keep h·k and h(d-1) below 0.2. `solve` raises DivergedError for h·k
            or h(d-1) above 2. It cannot detect features of U that are narrower than a step of the noise,
            √(2h), and less than τ deep; choose h small enough to resolve them.

    Examples:
        >>> import jax
        >>> import ctflow as ct
        >>> up = ct.potentials.Linear([0.0, 0.0, 1.0])
        >>> energy = ct.energies.Potential(up, temperature=0.5)
        >>> start = ct.sphere.uniform(jax.random.key(0), n=2000, d=3)
        >>> flow = ct.flows.Langevin(step_size=0.05)
        >>> sol = ct.solve(energy, start, flow, num_steps=100, key=jax.random.key(1))
        >>> round(float(sol.cloud[:, 2].mean()), 1)  # the Gibbs measure has 0.537
        0.5
    """

    step_size: Real = positive()
    stochastic = True
    stable_below = 2.0  # steps up to 4 settle, but in a law that is too wide

    def own_rate(self, d):
        """The rate at which Brownian motion on S^{d-1} forgets the mean, d - 1."""
        return d - 1.0

    def step(self, energy, state):
        """Drift, diffuse, drift."""
        half = self.step_size / 2
        clouds = self._drift(energy, state.clouds, half)
        z, tree = jax.tree.flatten(points(clouds))
        keys = jax.random.split(jax.random.fold_in(jnp.asarray(state.key), state.step), len(z))
        noise = [self._noise(key, part) for key, part in zip(keys, z, strict=True)]
        clouds = self._drift(energy, move(clouds, jax.tree.unflatten(tree, noise)), half)
        return state._replace(clouds=clouds, step=state.step + 1)

    def _noise(self, key, z):
        h = self.step_size
        scale = jnp.sqrt(jnp.asarray(2 * h / (1 + (z.shape[1] - 2) * h / 3), z.dtype))
        return scale * sphere.project_tangent(z, jax.random.normal(key, z.shape, z.dtype))

    def _drift(self, energy, clouds, time):
        """Midpoint rule: the velocity at half time, projected to the tangent space of the start."""
        there = jax.tree.map(lambda v: time / 2 * v, velocity(energy, clouds))
        middle = velocity(energy, move(clouds, there))
        back = jax.tree.map(lambda z, v: time * sphere.project_tangent(z, v), points(clouds), middle)
        return move(clouds, back)


class WassersteinFisherRao(PhysicalFlow):
    """Langevin transport plus birth and death, for the free energy F(ρ) = E(ρ) + ∫ρ log ρ dμ of one cloud.

    ∂ρ = [∇·(ρ∇δE) + Δρ] - ρ(δF - ∫δF dρ), δF = δE + log ρ. Mass moves along the sphere and, by the second
    term, also directly from where the first variation of F is high to where it is low. The masses of two
    wells therefore equilibrate at rate 1, however high the barrier between them (Lu, Lu, Nolen, arXiv
    1905.09863).

    A step is a step of `Langevin`, then w_i ← w_i·exp(-h(δF_i - mean)), with the weights divided by their
    sum, so mass is conserved exactly. log ρ comes from a kernel density estimate, which blurs the equilibrium
    if the kernel is not narrow compared with the wells; wells of equal shape still get the right masses.
    When the effective number of points 1/Σw² falls below `resample_below`·n, n points of weight 1/n are drawn
    from them (systematic resampling); the noise then separates the copies.

    Args:
        step_size: time h per step, > 0, as in `Langevin`.
        kernel: the kernel of the density estimate.
        resample_below: share of n, in (0, 1).
    """

    step_size: Real = positive()
    kernel: Kernel = converted(converter=as_kernel)
    resample_below: Real = positive(default=0.5)
    stochastic = True
    stable_below = 2.0

    def own_rate(self, d):
        """The larger of the rates of Brownian motion, d - 1, and of birth and death, 1."""
        return max(d - 1.0, 1.0)

    def __post_init__(self):
        check_kernel(self.kernel)
        if isinstance(self.resample_below, int | float) and self.resample_below >= 1:
            raise ValueError(f"resample_below must lie in (0, 1), got {self.resample_below}")

    def init(self, clouds, key=None):
        """The state at step 0, with explicit weights.

        Raises:
            ValueError: several clouds, or no key.
        """
        if isinstance(clouds, Pair) or type(clouds) is tuple:
            raise ValueError("WassersteinFisherRao moves one cloud [n, d], got several")
        clouds = check_clouds("clouds", clouds)
        return super().init(WeightedCloud(points(clouds), weights(clouds)), key)

    def step(self, energy, state):
        """Drift and diffuse, reweight, and resample if too few points carry the weight."""
        moved = Langevin(self.step_size).step(energy, state)
        z, w = moved.clouds
        variation = jax.grad(lambda w: energy(WeightedCloud(z, w)))(w)
        variation = variation + log_density(z, moved.clouds, self.kernel)
        log_w = jnp.log(w) - self.step_size * (variation - jnp.sum(w * variation))
        w = jax.nn.softmax(log_w)
        key = jax.random.fold_in(jax.random.fold_in(jnp.asarray(state.key), state.step), _RESAMPLING)
        few = 1 / jnp.sum(w**2) < self.resample_below * len(w)
        cloud = jax.lax.cond(few, _resampled, lambda key, cloud: cloud, key, WeightedCloud(z, w))
        return moved._replace(clouds=cloud)


_RESAMPLING = 1  # sets the resampling's random numbers apart from the same step's noise


def _resampled(key: Any, cloud: WeightedCloud) -> WeightedCloud:
    """Systematic resampling: n points of equal weight, each point drawn n·w times up to rounding."""
    n, dtype = len(cloud.weights), cloud.weights.dtype
    ticks = (jnp.arange(n, dtype=dtype) + jax.random.uniform(key, (), dtype)) / n
    chosen = jnp.searchsorted(jnp.cumsum(cloud.weights), ticks)
    return WeightedCloud(cloud.points[jnp.minimum(chosen, n - 1)], jnp.full(n, 1 / n, dtype))


class Descent(Flow):
    """Riemannian descent with an optax optimizer: it reaches a minimum fast, but has no physical time.

    The optimizer gets the tangential gradient of each point in R^d. Its update is projected to the tangent
    space, and the point moves along the geodesic. The optimizer's moments stay in R^d, untransported.

    Args:
        optimizer: one that needs gradients only, e.g. `optax.adam(2e-2)`, whose learning rate is in radians.

    Raises:
        ValueError: `optimizer` is not an optimizer of optax.
    """

    optimizer: optax.GradientTransformation = static()

    def __post_init__(self):
        if not all(callable(getattr(self.optimizer, name, None)) for name in ("init", "update")):
            raise ValueError(
                "optimizer must be an optimizer of optax, such as optax.adam(2e-2) with its learning rate in "
                f"radians, got {getattr(self.optimizer, '__name__', self.optimizer)!r}"
            )

    def init(self, clouds, key=None):
        """The state at step 0, with the optimizer's.

        Raises:
            ValueError: an optimizer that needs more than gradients, as `optax.lbfgs` needs the loss itself.
        """
        state = super().init(clouds, key)
        z = points(state.clouds)
        try:
            memory = self.optimizer.init(z)
            jax.eval_shape(self._update, z, memory, z)
        except Exception as error:
            raise ValueError(
                f"optimizer must be one whose update takes gradients only, such as optax.adam(2e-2); a trial "
                f"update failed: {error}. Optimizers with a line search (optax.lbfgs) or that need the loss "
                "leave the sphere between two updates and are not supported"
            ) from error
        return state._replace(memory=memory)

    def _update(self, gradient, memory, z):
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            return self.optimizer.update(gradient, memory, z)

    def step(self, energy, state):
        """One optimizer update."""
        z = points(state.clouds)
        ambient = jax.grad(lambda moved: energy(with_points(state.clouds, moved)))(z)
        gradient = jax.tree.map(sphere.project_tangent, z, ambient)
        update, memory = self._update(gradient, state.memory, z)
        update = jax.tree.map(lambda z, u: u.astype(z.dtype), z, update)
        displacement = jax.tree.map(sphere.project_tangent, z, update)
        return state._replace(clouds=move(state.clouds, displacement), step=state.step + 1, memory=memory)
