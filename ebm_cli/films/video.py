"""Files of films: GIF by Pillow, MP4 by ffmpeg.

A GIF has 64 colors, which all its pictures share, and no dithering: this keeps colors constant through the film, and the file small.
"""

import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from ebm_cli.errors import RunFailed, bad
from ebm_cli.io import out_files

SUFFIXES = (".gif", ".mp4")
N_COLORS = 64
N_EXACT = 36  # so many are exact: those that a film names, then the most frequent ones (white, black, the levels of a landscape)
PER_SECOND = 10  # pictures
HELD = 2.0  # seconds for which the last picture is shown


def check_out(out: str | None) -> Path | None:
    """The path in `out`, or None. What cannot be written is refused here, before anything is drawn."""
    path = out_files.check(out, SUFFIXES)
    if path and path.suffix.lower() == ".mp4" and ffmpeg() is None:
        raise bad("out: MP4 files need ffmpeg, which is not installed", "pip install 'ebm-cli[video]', or name a .gif file")
    return path


def ffmpeg() -> str | None:
    """The program that writes MP4 files: that of the extra `video`, or one on the PATH; None if there is none."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # RuntimeError: the package has no program for this machine
        return shutil.which("ffmpeg")


def encode(pictures: Sequence[np.ndarray], suffix: str, kept: Sequence[str] = ()) -> bytes:
    """The content of the file. Pictures are (height, width, 3), as bytes, and the last one is held. A GIF has the colors `kept`."""
    return _mp4(pictures) if suffix.lower() == ".mp4" else _gif(pictures, kept)


def _gif(pictures: Sequence[np.ndarray], kept: Sequence[str]) -> bytes:
    palette = _palette([*(pictures[len(pictures) * i // 4] for i in range(4)), pictures[-1]], kept)
    first, *rest = (Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    durations = [1000 // PER_SECOND] * (len(pictures) - 1) + [int(1000 * HELD)]  # milliseconds
    file = io.BytesIO()
    first.save(file, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False, disposal=1)
    return file.getvalue()


def _palette(pictures: Sequence[np.ndarray], kept: Sequence[str]) -> Image.Image:
    """The colors of a film: those `kept`, the most frequent ones of some of its pictures, and a median cut of the others.

    In the median cut a color has the weight log2 of its number of pixels. By their numbers alone, few colors would be left for a landscape,
    which would show steps.
    """
    own = np.array([ImageColor.getrgb(color) for color in kept], np.uint8).reshape(-1, 3)
    colors, counts = np.unique(np.concatenate([picture.reshape(-1, 3) for picture in pictures]), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    n = max(N_EXACT - len(own), 2)
    chosen, others = [own, colors[order[:n]]], order[n:]
    if len(others):
        weighted = np.repeat(colors[others], 1 + np.log2(counts[others]).astype(int), axis=0)
        left = Image.fromarray(weighted[None]).quantize(N_COLORS - len(own) - n, method=Image.Quantize.MEDIANCUT).getpalette()
        chosen.append(np.array(left, np.uint8).reshape(-1, 3))
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate(chosen)[:N_COLORS].flatten().tolist())
    return palette


def _mp4(pictures: Sequence[np.ndarray]) -> bytes:
    height, width, _ = pictures[0].shape
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(PER_SECOND), "-i", "-"]
    codec = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-movflags", "+faststart"]
    held = [pictures[-1]] * int(HELD * PER_SECOND - 1)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "film.mp4"
        command = [ffmpeg(), "-loglevel", "error", "-y", *source, *codec, str(target)]
        done = subprocess.run(command, input=b"".join(picture.tobytes() for picture in [*pictures, *held]), capture_output=True)
        if done.returncode:
            raise RunFailed(f"ffmpeg failed: {done.stderr.decode(errors='replace').strip()[-200:]}", "name a .gif file in out=")
        return target.read_bytes()
