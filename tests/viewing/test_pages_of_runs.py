"""`ct.view`: what it takes, what the page says, and that nothing in a name can act on the page."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow.viewing.axes import axes_of
from ctflow.viewing.surfaces import evaluated, grid


def path_of(d, n=6, frames=4, seed=0):
    z = np.random.default_rng(seed).normal(size=(frames, n, d))
    return z / np.linalg.norm(z, axis=2, keepdims=True)


def content(page):
    return json.loads(re.search('<script type="application/json" id="scene">(.*?)</script>', page.html)[1])


@pytest.fixture(scope="module")
def solution():
    """A weighted cloud's descent, with its clouds, a number per particle and one of two numbers per step."""
    energy = ct.energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=1.0)
    z = ct.sphere.uniform(jax.random.key(0), 6, 3)
    start = ct.WeightedCloud(z, jnp.asarray([0.5, 0.1, 0.1, 0.1, 0.1, 0.1]))
    save = ct.saving.frames(
        energy, height=lambda c: c.points[:, 0], mean=lambda c: c.weights @ c.points[:, :2]
    )
    return ct.solve(energy, start, ct.flows.GradientFlow(0.1), num_steps=4, save_every=2, save=save)


def test_a_solution_is_shown_with_all_that_was_saved(solution):
    page = ct.view(solution, surface=lambda z: z[:, 0])
    scene = content(page)
    assert [mode["name"] for mode in scene["modes"]] == ["weight × number of particles", "height"]
    assert (scene["modes"][0]["low"], scene["modes"][0]["high"]) == pytest.approx((0.6, 3.0))
    run = scene["runs"][0]
    assert run["clock"] == [0, 0.2, 0.4]
    assert list(run["series"]) == ["energy", "mean 1", "mean 2"]  # the only term is the energy
    assert run["series"]["energy"] == pytest.approx(solution.saved["energy"].tolist(), rel=1e-5)
    assert scene["surface"]["low"] == pytest.approx(-scene["surface"]["high"])
    assert "One cloud of 6 particles on the sphere S², at 3 saved steps from time 0 to time 0.4." in page.html


def test_the_same_run_gives_the_same_bytes_and_a_notebook_shows_it(solution, tmp_path):
    page = ct.view(solution)
    assert page.html == ct.view(solution).html
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.html
    assert page._repr_html_().startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    assert repr(page).startswith("View: A cloud on the sphere S² (0.0")
    with pytest.raises(ValueError, match=r"path must end in \.html, got 'page\.png'"):
        page.save("page.png")


def test_without_saved_clouds_the_message_says_how_to_save_them():
    energy = ct.energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=1.0)
    start = ct.sphere.uniform(jax.random.key(0), 6, 3)
    solution = ct.solve(energy, start, ct.flows.GradientFlow(0.1), num_steps=2)
    with pytest.raises(ValueError, match=r"not saved; pass save=ct\.saving\.frames\(energy\) to ct\.solve"):
        ct.view(solution)
    for save in (lambda clouds: clouds, lambda clouds: {"here": clouds}):
        kept = ct.solve(energy, start, ct.flows.GradientFlow(0.1), num_steps=2, save=save)
        assert content(ct.view(kept))["runs"][0]["clouds"][0]["n"] == 6


def test_markup_in_names_stays_text():
    bad = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>"
    run = ct.viewing.as_run(path_of(3), series={bad: np.arange(4)}, fields={bad: np.ones((4, 6))})
    page = ct.view(
        [run, run], labels=[bad, "b"], names=[bad], title=bad, surface=lambda z: z[:, 0], surface_name=bad
    )
    assert "<img" not in page.html
    assert page.html.count("<script>") == 8
    assert "http" not in page.html.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        ([], {}, "runs must be 1 to 4 runs, got 0"),
        (np.zeros((2, 3)), {}, r"clouds must hold points of unit norm, but point 0 of frame 0 has norm 0"),
        (np.ones(3), {}, r"clouds must have shape \[frames, n, d\]"),
        ({"a": 1}, {}, r"clouds must be an array \[frames, n, d\]"),
        ((path_of(3), path_of(4)), {}, "clouds must have the same number of frames and dimensions"),
        ([path_of(3), path_of(4)], {}, "runs must have the same dimension and number of clouds"),
        (path_of(3), {"names": ["a", "b"]}, r"names must have one name for each of the 1 clouds"),
        (path_of(3), {"labels": "ab"}, r"labels must have one name for each of the 1 runs, got 'ab'"),
        (path_of(3), {"surface": 3}, r"surface must be a function of points \[k, d\]"),
        (path_of(3), {"surface": lambda z: z}, r"surface must return a number per point, shape \(8192,\)"),
        (path_of(4), {"surface": lambda z: z[:, 0]}, "surface can be drawn for d = 2 or 3, .* d = 4"),
        (path_of(4), {"axes": "gap"}, r'axes="gap" needs two clouds whose means differ'),
        (path_of(4), {"axes": "x"}, "axes must be one of"),
        (path_of(3), {"max_frames": 1}, "max_frames must be"),
    ],
)
def test_bad_input_is_named(runs, options, message):
    with pytest.raises(ValueError, match=message):
        ct.view(runs, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": [0, 1, 1, 2]}, "steps must be finite and increase"),
        ({"times": [0, 1]}, r"times must hold one number per frame, shape \(4,\)"),
        ({"series": {"a": [1, 2]}}, r"series\['a'\] must hold one number per frame"),
        (
            {"fields": {"a": np.ones((4, 5))}},
            r"fields\['a'\] must hold one number per particle, shape \(4, 6\)",
        ),
        ({"fields": {"a": (np.ones(6), None)}}, r"fields\['a'\] must have 1 parts, one per cloud, got 2"),
    ],
)
def test_bad_arrays_of_a_run_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ct.viewing.as_run(path_of(3), **options)


def test_runs_share_their_scales_and_only_some_frames_and_particles_are_drawn():
    runs = [
        ct.viewing.as_run(path_of(3, 50, 30), fields={"a": np.full(50, value)}, series={"s": np.arange(30)})
        for value in (1.0, 5.0)
    ]
    scene = content(page := ct.view(runs, max_particles=20, max_frames=10))
    assert (scene["modes"][0]["low"], scene["modes"][0]["high"]) == (1, 5)
    assert [run["label"] for run in scene["runs"]] == ["run 1", "run 2"]
    assert scene["runs"][0]["clouds"][0]["n"] == 20
    assert scene["runs"][0]["clock"] == [0, 3, 6, 10, 13, 16, 19, 23, 26, 29]
    assert len(scene["runs"][0]["series"]["s"]) == 30
    assert "run 1: Of cloud, 20 of 50 particles are drawn, evenly spaced rows." in page.html
    assert "run 2: 10 of 30 saved steps are drawn; the charts show all of them." in page.html


def test_axes_are_those_of_the_gap_or_of_the_spread_and_their_share_is_said():
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(1, 400, 6)) * [0.05, 3, 2, 0.05, 0.05, 0.05]
    shifted = [spread + sign * np.eye(6)[0] for sign in (2, -2)]
    pair = ct.Pair(*(z / np.linalg.norm(z, axis=2, keepdims=True) for z in shifted))
    found = axes_of([ct.viewing.as_run(pair)], "auto")
    assert found.kind == "gap"
    np.testing.assert_allclose(found.frame @ found.frame.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.abs(found.frame), np.eye(6)[:3], atol=0.1)
    assert found.frame[0, 0] > 0.99
    z = np.concatenate([pair.x[0], pair.y[0]])
    z = z - z.mean(axis=0)
    assert found.shares[1] == pytest.approx(((z @ found.frame.T) ** 2).sum() / (z**2).sum())
    assert f"They show {found.shares[1]:.0%} of the variance" in ct.view(pair).html
    single = axes_of([ct.viewing.as_run(pair.x)], "auto")
    assert single.kind == "last"
    assert "directions of largest variance at the last step" in ct.view(pair.x).html


def test_a_surface_may_depend_on_the_clouds_of_each_frame():
    pair = ct.Pair(path_of(3), path_of(3, seed=1))
    run = ct.viewing.as_run(pair)
    values = evaluated(lambda z, clouds: z @ clouds.y.mean(axis=0), run)
    assert values.shape == (4, 64 * 128)
    np.testing.assert_allclose(values, pair.y.mean(axis=1) @ grid(3).T, atol=1e-12)
    fixed = evaluated(ct.potentials.Linear(np.eye(2)[1]), ct.viewing.as_run(path_of(2)))
    np.testing.assert_allclose(fixed, -grid(2)[None, :, 1], atol=1e-12)


@pytest.mark.wrong_types
def test_names_of_what_is_saved_anyway_are_refused():
    energy = ct.energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=1.0)
    with pytest.raises(
        ValueError, match="fields must have other names than what is saved anyway, got 'energy'"
    ):
        ct.saving.frames(energy, energy=lambda clouds: 0)
    with pytest.raises(ValueError, match="height must be a function of the clouds, got 3"):
        ct.saving.frames(energy, height=3)
    with pytest.raises(ValueError, match=r"got Linear; a potential becomes one by ct\.energies\.Potential"):
        ct.saving.frames(ct.potentials.Linear(np.eye(3)[0]))


def test_paths_and_surfaces_of_the_wrong_kind_are_refused():
    with pytest.raises(ValueError, match=r"got the path 'runs/mine'; use ct\.view\(ct\.viewing\.open_runs"):
        ct.view("runs/mine")
    with pytest.raises(ValueError, match="got a function that needs z, clouds, more"):
        ct.view(path_of(3), surface=lambda z, clouds, more: z)
    with pytest.raises(FileNotFoundError, match=r"the folder of 'nowhere/view\.html' does not exist"):
        ct.view(path_of(3)).save("nowhere/view.html")
