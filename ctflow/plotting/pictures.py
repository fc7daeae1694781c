"""Figures and films as objects that save themselves."""

import os
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.animation import FFMpegWriter, PillowWriter
from matplotlib.figure import Figure

from ctflow import io
from ctflow._base.checks import check_count, check_positive
from ctflow.plotting.style import STYLE
from ctflow.storage.folders import check_folder_of

_VIDEO_CODECS = {"mp4": "h264", "webm": "libvpx-vp9"}


class Picture(NamedTuple):
    """A figure with a method to save it; a file is written completely or not at all."""

    figure: Figure

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the figure in the format of the path's ending (upper or lower case).

        Raises:
            ValueError: the path has no ending, or one that is not an image format.
        """
        known = tuple(self.figure.canvas.get_supported_filetypes())
        suffix = _ending(path, known, "a picture is no film: use ct.plotting.Movie")
        with mpl.rc_context(STYLE), io.atomic(path) as file:
            # A PNG gets no matplotlib version, so the same figure gives the same bytes.
            self.figure.savefig(file, format=suffix, metadata={"Software": None} if suffix == "png" else None)

    def _repr_png_(self) -> bytes:
        """The figure as PNG: what a notebook shows."""
        with mpl.rc_context(STYLE), BytesIO() as file:
            self.figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
            return file.getvalue()


class Movie(NamedTuple):
    """A figure that is drawn again for each frame, and a method to save the movie."""

    figure: Figure
    draw: Callable[[int], None]
    frames: int
    fps: int = 12

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the movie in the format of the path's ending: .gif, or with ffmpeg installed .mp4 or .webm.

        Raises:
            FileNotFoundError: the folder does not exist.
            ValueError: another ending, or one that needs ffmpeg when ffmpeg is not installed; no frames; a
                rate `fps` that is not above 0.
        """
        check_count("frames", self.frames)
        check_positive("fps", self.fps)
        with mpl.rc_context(STYLE):
            codecs = _VIDEO_CODECS if FFMpegWriter.isAvailable() else {}
            missing = "it needs ffmpeg, which is not on the PATH: install it"
            suffix = _ending(path, ("gif", *codecs), missing)
            if suffix == "gif":
                writer = PillowWriter(fps=self.fps)
            else:  # all players support even sizes and this pixel format
                even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-pix_fmt", "yuv420p"]
                writer = FFMpegWriter(fps=self.fps, codec=codecs[suffix], extra_args=even)
            temporary = f"{os.fspath(check_folder_of(path))}.part.{suffix}"
            try:
                with writer.saving(self.figure, temporary, dpi=90):
                    for frame in range(self.frames):
                        self.draw(frame)
                        writer.grab_frame()
                os.replace(temporary, path)
            finally:
                if os.path.exists(temporary):
                    os.unlink(temporary)


def _ending(path: str | os.PathLike[str], known: tuple[str, ...], no_video: str) -> str:
    """The path's ending in lower case without its dot; raises ValueError unless it is in `known`.

    `no_video` says why a film cannot be written.
    """
    suffix = os.path.splitext(os.fspath(path))[1][1:].lower()
    if suffix not in known:
        endings = ", ".join(f".{name}" for name in known)
        hint = f"; {no_video}" if suffix in _VIDEO_CODECS else ""
        raise ValueError(
            f"path must end in one of {endings} to be written here, got {os.fspath(path)!r}{hint}"
        )
    return suffix
