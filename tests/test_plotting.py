"""Pictures of spheres and the files they are saved in."""

import shutil
import stat
import subprocess
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

import ctflow as ct
from ctflow import plotting as pl
from ctflow.plotting import pictures

VIEW = (18.0, 35.0)


@pytest.mark.parametrize("points_first", [True, False])
def test_points_in_front_of_a_coloured_globe_are_seen_and_those_behind_are_not(tmp_path, points_first):
    figure, axes = pl.panels(1, 2, size=(4, 2), projection="3d")
    front = pl.view_direction(VIEW)
    for ax, side in zip(axes[0], (1, -1), strict=True):
        pl.globe(ax, view=VIEW)
        draw = [
            lambda ax=ax: pl.globe_surface(ax, lambda z: z[:, 2]),
            lambda ax=ax, side=side: pl.globe_points(
                ax, side * front[None], color="#FF0000", view=VIEW, size=200
            ),
        ]
        for step in draw[::-1] if points_first else draw:
            step()
    pl.Picture(figure).save(tmp_path / "globe.png")
    pixels = np.asarray(Image.open(tmp_path / "globe.png").convert("RGB")) / 255
    red = (pixels[..., 0] > 0.8) & (pixels[..., 1] < 0.4) & (pixels[..., 2] < 0.4)
    half = red.shape[1] // 2
    assert red[:, :half].sum() > 500
    assert red[:, half:].sum() == 0


def test_a_picture_is_saved_by_its_ending_in_either_case_or_refused(tmp_path):
    for name in ("a.png", "b.PNG"):
        picture = pl.Picture(pl.panels(1, 1, size=(1, 1))[0])
        picture.save(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.PNG").read_bytes()
    assert b"Software" not in (tmp_path / "b.PNG").read_bytes()
    with pytest.raises(ValueError, match=r"a picture is no film: use ct\.plotting\.Movie"):
        picture.save(tmp_path / "c.mp4")
    for name in ("c", "c.xyz", "png"):
        with pytest.raises(ValueError, match=r"path must end in one of .*\.pdf, .*\.png, .* got '.*" + name):
            picture.save(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.PNG"}
    assert Image.open(BytesIO(picture._repr_png_())).size == (110, 110)  # what a notebook shows


def movie():
    figure, axes = pl.panels(1, 1, size=(1, 1))
    (line,) = axes[0, 0].plot([0, 1], [0, 1])
    return pl.Movie(figure, lambda frame: line.set_ydata([0, frame]), frames=3)


def test_a_film_is_saved_by_its_ending_or_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures.FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    for name in ("a.gif", "b.GIF"):
        movie().save(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert (image.format, getattr(image, "n_frames", 1)) == ("GIF", 3)
    for name in ("a.mp4", "a.webm", "a.avi", "a", "gif"):
        with pytest.raises(
            ValueError, match=r"path must end in one of \.gif to be written here, got '.*" + name
        ):
            movie().save(tmp_path / name)
    for change in ({"frames": 0}, {"fps": 0}, {"fps": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(change))} must be "):
            movie()._replace(**change).save(tmp_path / "c.gif")
    with pytest.raises(FileNotFoundError, match=r"the folder of '.*c\.gif' does not exist: make it first"):
        movie().save(tmp_path / "none" / "c.gif")
    assert {path.name for path in tmp_path.iterdir()} == {"a.gif", "b.GIF"}


@pytest.mark.parametrize("name", ["film.mp4", "film.WEBM"])
def test_films_for_ffmpeg_go_to_ffmpeg(tmp_path, name):
    # A program in ffmpeg's place: it keeps its arguments, reads the frames and writes the file it is told to.
    program = tmp_path / "ffmpeg"
    program.write_text(
        '#!/bin/sh\necho "$@" > "$(dirname "$0")/arguments"\nfor last; do :; done\nwc -c > "$last"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    with mpl.rc_context({"animation.ffmpeg_path": str(program)}):
        movie().save(tmp_path / name)
        with pytest.raises(ValueError, match=r"one of \.gif, \.mp4, \.webm to be written here"):
            movie().save(tmp_path / "film.avi")
    assert int((tmp_path / name).read_text()) == 3 * 90 * 90 * 4  # three frames of 90² pixels, RGBA
    assert f"{name}.part.{name[5:].lower()}" in (tmp_path / "arguments").read_text()
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("name", ["film.mp4", "film.webm"])
def test_without_ffmpeg_the_message_says_what_to_install(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pictures.FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(ValueError, match=r"needs ffmpeg, which is not on the PATH: install it"):
        movie().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_film_that_ffmpeg_writes_has_its_frames(tmp_path):
    movie().save(tmp_path / "film.mp4")
    command = ["ffmpeg", "-loglevel", "error", "-i", str(tmp_path / "film.mp4"), "-f", "rawvideo"]
    frames = subprocess.run(
        [*command, "-pix_fmt", "gray", "-"], capture_output=True, check=True, stdin=subprocess.DEVNULL
    ).stdout
    assert len(frames) == 3 * 90 * 90


def two_clouds(d, frames=5):
    """Two clouds that part along the first axis."""
    rng = np.random.default_rng(0)
    shift = np.linspace(0, 2, frames)[:, None, None] * np.eye(d)[0]
    parts = [rng.normal(size=(20, d)) + sign * shift for sign in (1, -1)]
    return ct.Pair(*(z / np.linalg.norm(z, axis=2, keepdims=True) for z in parts))


@pytest.mark.parametrize("d", [2, 3, 6])
def test_a_run_is_drawn_at_its_start_middle_and_end(d, tmp_path):
    series = {"height": np.arange(5.0), "energy": -np.arange(5.0), "gap": np.arange(5.0) ** 2}
    run = ct.viewing.as_run(two_clouds(d), steps=10 * np.arange(5), series=series, names=("image", "text"))
    picture = pl.plot(run)
    titles = [ax.get_title() for ax in picture.figure.axes]
    assert titles == ["step 0", "step 20", "step 40", "energy", "gap", "height"]
    marks = picture.figure.axes[3].lines[1].get_xydata()
    np.testing.assert_array_equal(marks, [[0, 0], [20, -2], [40, -4]])
    assert [text.get_text() for text in picture.figure.legends[0].get_texts()] == ["image", "text"]
    picture.save(tmp_path / "run.png")


def test_frames_and_series_of_a_run_are_chosen_or_refused():
    run = ct.viewing.as_run(two_clouds(3), series={"energy": np.arange(5.0)})
    titles = [ax.get_title() for ax in pl.plot(run, frames=[1, -1], series=[]).figure.axes]
    assert titles == ["frame 1", "frame 4"]
    with pytest.raises(ValueError, match=r"frames must be indices of the 5 frames, got \[5\]"):
        pl.plot(run, frames=[5])
    with pytest.raises(
        ValueError, match=r"series must be at most 3 of the saved ones \(energy\), got \['gap'"
    ):
        pl.plot(run, series=["gap"])
