"""README.md and docs/*.md: their code runs and prints what is shown; commands and links exist."""

import re
import subprocess
import sys

import numpy as np
import pytest

from ctflow.claims import CLAIMS
from tests.pages_of_docs import PAGES, ROOT, blocks, run, text

DATA = ROOT.parent / "shared" / "data"


def ctflow(*arguments, folder):
    """What the command prints."""
    command = [sys.executable, "-m", "ctflow", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True).stdout


def assert_shown(lines, printed):
    """Every shown line is printed, but for what `…` leaves out; spaces and line ends may differ."""
    printed = " ".join(printed.split())
    for line in lines.splitlines():
        for piece in line.split("…"):
            words = " ".join(piece.split()).strip(", ")
            assert words in printed, words


def test_the_readme_is_short():
    readme = text("README.md")
    assert len(readme.split()) <= 900
    assert max(map(len, readme.splitlines())) <= 120


def test_the_readme_shows_the_simulated_and_the_exact_mass(tmp_path):
    simulated, exact = map(float, run(blocks("README.md")[0], tmp_path)[0].split())
    assert abs(simulated - exact) < 4 * (exact * (1 - exact) / 4096) ** 0.5
    shown = [float(word) for word in blocks("README.md", "text")[0].split()]
    assert shown == pytest.approx([simulated, exact], abs=2e-3)


def test_the_start_page_runs_and_shows_what_it_prints(tmp_path):
    """All of its blocks as one program, then its command on the files which that wrote."""
    printed = run("\n".join(blocks("docs/start.md")), tmp_path)
    shown = [block for block in blocks("docs/start.md", "text") if "Solution" in block or "0.51" in block]
    for line in "".join(shown).splitlines():
        numbers = [float(word) for word in re.findall(r"-?\d+\.\d+", line)]
        like = [found for found in printed if re.sub(r"[-\d.]+", "#", found) == re.sub(r"[-\d.]+", "#", line)]
        assert like, line
        assert any(
            [float(word) for word in re.findall(r"-?\d+\.\d+", found)] == pytest.approx(numbers, rel=0.02)
            for found in like
        ), (line, like)
    free, controlled = (float(line.split()[0]) for line in printed[-2:])
    assert free > 0.2
    assert controlled < free / 4
    out = ctflow(
        "diagnose", "image.npy", "text.npy", "--temperature", "0.05", "--out", "diagnosis", folder=tmp_path
    )
    assert_shown(blocks("docs/start.md", "text")[-1], out)
    assert (tmp_path / "diagnosis" / "report.md").exists()


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is absent: real embeddings are not committed")
def test_the_readme_shows_the_diagnosis_of_clip(tmp_path):
    image, captions = np.load(DATA / "clip.npy")
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "text.npy", captions)
    out = ctflow("diagnose", "image.npy", "text.npy", "--logit-scale", "100", folder=tmp_path)
    assert_shown(blocks("README.md", "text")[1], out)


@pytest.mark.parametrize("page", ["sums", "embeddings"])
def test_the_page_runs(page, tmp_path):
    run("\n".join(blocks(f"docs/{page}.md")), tmp_path)


def test_the_page_on_runs_says_when_its_example_stops(tmp_path):
    printed = run("\n".join(blocks("docs/runs.md")), tmp_path)
    assert f"It prints `{printed[-1]}`" in text("docs/runs.md")


def test_the_page_on_extending_runs_and_prints_what_theory_says(tmp_path):
    printed = run("\n".join(blocks("docs/extending.md")), tmp_path)
    end = printed.index("Solution: finished after 500 steps, time 1")
    first, last = map(float, printed[end - 2].split())
    assert last < first
    assert float(printed[2]) == pytest.approx(0.3, abs=1e-4)
    stein, exact = map(float, printed[end - 1].split())
    assert stein == pytest.approx(exact, abs=2e-3)


@pytest.mark.long
def test_the_page_on_several_devices_runs_on_one(tmp_path):
    run(blocks("docs/several-devices.md")[0], tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_make_targets_and_commands_exist(page):
    makefile, shell = text("Makefile"), "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL))
    for target in re.findall(r"^make ([\w-]+)", shell, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in re.findall(r"^python ((?:experiments|benchmarks)/\w+\.py)", shell, re.MULTILINE):
        assert (ROOT / script).exists(), script


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_the_page_of_claims_lists_every_claim():
    assert tuple(re.findall(r"^\| `(\w+)` \|", text("docs/claims.md"), re.MULTILINE)) == CLAIMS


def test_the_gallery_shows_every_figure():
    shown = set(re.findall(r"^```\{figure\} \.\./(\S+)", text("docs/gallery.md"), re.MULTILINE))
    paths = [*ROOT.glob("figures/*/*"), *ROOT.glob("benchmarks/results/*/*")]
    there = {str(path.relative_to(ROOT)) for path in paths if path.suffix in (".png", ".gif")}
    assert shown == there


@pytest.mark.long
def test_the_page_on_looking_at_a_flow_runs_and_writes_its_pages(tmp_path):
    printed = run("\n".join(blocks("docs/looking-at-a-flow.md")), tmp_path)
    assert printed[0].startswith("View: Two clouds on the sphere S² (0.12 MB)")
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"view.html", "both.html", "barrier.html", "arrays.html", "flow.pdf", "flow.gif"}
