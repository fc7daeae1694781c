"""A page of `ct.view` in headless Chromium: it draws, plays and turns, and says and loads nothing."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import ctflow as ct

pytestmark = pytest.mark.long

WHITE, DARK = (255, 255, 255), (18, 22, 28)
FRAME = """async count => {
  const { player, camera } = flow.state, times = [];
  let before = performance.now();
  for (let i = 0; i < count; i++) {
    player.go(i);
    camera.rotate(0.01, 0);
    await new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
    times.push(performance.now() - before);
    before = performance.now();
  }
  return times.sort((a, b) => a - b)[count / 2];
}"""

# After two pictures, and once a slow computer shows all pixels again.
AT_REST = """async () => {
  const next = () => new Promise(done => requestAnimationFrame(done));
  const canvas = document.getElementById("panel-0");
  await next();
  await next();
  while (canvas.width !== Math.round(canvas.clientWidth * devicePixelRatio)) { await next(); }
  await next();
}"""


def moving(n, frames, d=3, seed=0):
    """A cloud that gathers at the first axis."""
    z = np.random.default_rng(seed).normal(size=(1, n, d))
    z = z + np.linspace(0, 4, frames)[:, None, None] * np.eye(d)[0]
    return z / np.linalg.norm(z, axis=2, keepdims=True)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """Two runs with other saved steps, a field, a series and a surface that changes."""
    runs = []
    for seed, steps in ((0, [0, 10, 20, 30, 40]), (1, [0, 20, 40])):
        x, y = moving(60, len(steps), seed=seed), -moving(50, len(steps), seed=seed + 2)
        gap = np.linalg.norm(x.mean(axis=1) - y.mean(axis=1), axis=1)
        runs.append(
            ct.viewing.as_run(
                ct.Pair(x, y),
                steps=steps,
                series={"gap": gap, "a": gap**2},
                fields={"height": (x[..., 0], None)},
            )
        )
    page = ct.view(runs, labels=["<b>one", "two"], surface=lambda z, clouds: z @ clouds.x.mean(axis=0))
    path = tmp_path_factory.mktemp("view") / "view.html"
    page.save(path)
    return path


@pytest.fixture
def look(browser):
    """Open a page; returns it with all that it says and asks for."""
    pages = []

    def opened(path, width=1400, fragment="", **options):
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        pages.append(page)
        heard = []

        def hear(text):
            # Without a GPU, Chromium itself reads the picture back, and complains about it.
            if "GPU stall due to ReadPixels" not in text and "GL Driver Message" not in text:
                heard.append(text)

        page.on("console", lambda message: hear(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        page.on("request", lambda asked: heard.append(asked.url) if "file://" not in asked.url else None)
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector("html[data-drawn]")
        return page, heard

    yield opened
    for page in pages:
        page.close()


def picture(page, number=0):
    """Pixels of a panel, [height, width, 3]."""
    # The bar of controls stays at the lower edge of the screen, over what is there.
    page.locator(f"#panel-{number}").evaluate("panel => panel.scrollIntoView(true)")
    page.evaluate(AT_REST)
    return np.asarray(
        Image.open(BytesIO(page.locator(f"#panel-{number}").screenshot())).convert("RGB")
    ).astype(int)


def changed(a, b):
    """Share of pixels that differ clearly."""
    return (np.abs(a - b).max(axis=2) > 24).mean()


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("fragment", ["", "#2d"])
def test_the_page_draws_and_is_quiet_on_a_phone_and_a_desk(look, two_runs, width, fragment):
    page, heard = look(two_runs, width, fragment)
    for number in (0, 1):
        assert changed(picture(page, number), np.array(WHITE)) > 0.1
        box = page.locator(f"#panel-{number}").bounding_box()
        assert box["width"] == pytest.approx(box["height"], abs=2)
        assert box["width"] > 250
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("figcaption strong").first.text_content() == "<b>one"
    assert page.locator("#legend .cloud").all_text_contents() == ["cloud x", "cloud y"]
    assert page.locator(".chart").count() == 2
    assert heard == []


def test_scrubbing_changes_the_picture_and_moves_the_marker_of_every_chart(look, two_runs):
    page, heard = look(two_runs)
    before = picture(page)
    lines = page.locator(".line")
    left = lines.evaluate_all("all => all.map(line => line.style.left)")
    assert left == ["0%", "0%"]
    page.locator("#frame").fill("3")
    assert changed(before, picture(page)) > 0.005
    assert lines.evaluate_all("all => all.map(line => parseFloat(line.style.left))") == [75, 75]
    assert page.locator("#now").text_content() == "4 of 5"
    # The second run was saved at steps 0, 20 and 40 only.
    assert page.locator("figcaption > span").first.text_content() == "step 30"
    assert page.locator(".panel").nth(1).locator("span").text_content() == "step 20"
    page.locator(".chart .plot").first.click(position={"x": 2, "y": 20})
    assert page.locator("#now").text_content() == "1 of 5"
    assert heard == []


def test_keys_step_play_turn_and_zoom(look, two_runs):
    page, heard = look(two_runs)
    now = page.locator("#now")
    for key, text in (
        ("ArrowRight", "2 of 5"),
        ("ArrowRight", "3 of 5"),
        ("ArrowLeft", "2 of 5"),
        ("End", "5 of 5"),
    ):
        page.keyboard.press(key)
        picture(page)
        assert now.text_content() == text
    page.keyboard.press("Space")
    assert page.locator("#play").text_content() == "Pause"
    assert page.locator("#play").get_attribute("aria-pressed") == "true"
    page.wait_for_selector("#play[aria-pressed=false]")  # it has come to the end
    picture(page)
    assert now.text_content() == "5 of 5"
    before = [picture(page, number) for number in (0, 1)]
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    turned = [picture(page, number) for number in (0, 1)]
    for a, b in zip(before, turned, strict=True):
        assert changed(a, b) > 0.01
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert changed(turned[0], picture(page)) > 0.05
    page.keyboard.press("0")
    assert changed(before[0], picture(page)) == 0
    assert heard == []


def test_dragging_one_panel_turns_both_and_the_wheel_with_ctrl_zooms(look, two_runs):
    page, heard = look(two_runs)
    before = [picture(page, number) for number in (0, 1)]
    box = page.locator("#panel-0").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y + 30, steps=4)
    page.mouse.up()
    for number, a in enumerate(before):
        assert changed(a, picture(page, number)) > 0.02
    zoom = "flow.state.camera.zoom"
    page.mouse.wheel(0, 120)
    picture(page)
    assert page.evaluate(zoom) == 1
    page.locator("#panel-0").hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    picture(page)
    assert page.evaluate(zoom) > 1.2
    page.locator("#reset").click()
    for number, a in enumerate(before):
        assert changed(a, picture(page, number)) < 0.005
    assert heard == []


def test_colours_follow_a_field_and_the_dark_page(look, two_runs):
    page, heard = look(two_runs, color_scheme="dark")
    dark = picture(page)
    np.testing.assert_allclose(dark[2, 2], DARK, atol=2)
    page.locator("#mode").select_option("0")
    assert changed(dark, picture(page)) > 0.001
    legend = page.locator("#legend").text_content()
    assert legend.startswith("height −")
    assert "no number" in legend
    assert "surface: the given function" in legend
    page.emulate_media(color_scheme="light")
    np.testing.assert_allclose(picture(page)[2, 2], WHITE, atol=2)
    assert heard == []


def test_points_on_the_far_side_are_paler(look, tmp_path):
    """One point in front and its antipode: turned half around, they change places."""
    toward = np.array([np.cos(0.6) * np.cos(0.35), np.sin(0.6) * np.cos(0.35), np.sin(0.35)])
    ct.view(np.tile(toward, (2, 1))[None]).save(tmp_path / "front.html")
    ct.view(np.tile(-toward, (2, 1))[None]).save(tmp_path / "back.html")
    blue = []
    for name in ("front", "back"):
        page, _ = look(tmp_path / f"{name}.html")
        assert page.locator("#play").count() == 0
        shot = picture(page)
        middle = shot[shot.shape[0] // 2, shot.shape[1] // 2]
        blue.append(255 - middle[0])
    assert blue[0] > 200
    assert 30 < blue[1] < 0.6 * blue[0]


@pytest.mark.parametrize("d", [2, 5])
def test_circles_and_balls_are_drawn_too(look, tmp_path, d):
    pair = ct.Pair(moving(40, 3, d), -moving(40, 3, d, seed=1))
    surface = (lambda z: z[:, 0]) if d == 2 else None
    ct.view(pair, surface=surface).save(tmp_path / "view.html")
    for fragment in ("", "#2d"):
        page, heard = look(tmp_path / "view.html", 400, fragment)
        assert changed(picture(page), np.array(WHITE)) > 0.01
        assert heard == []


def test_five_thousand_particles_at_two_hundred_steps_are_small_and_smooth(look, tmp_path):
    """The aim is 33 ms from one picture to the next; the bound allows for a busy machine without a GPU."""
    z = moving(5000, 200) + 0.02 * np.random.default_rng(1).normal(size=(200, 5000, 3))
    page = ct.view(z / np.linalg.norm(z, axis=2, keepdims=True), surface=lambda z: z[:, 0])
    path = tmp_path / "large.html"
    page.save(path)
    assert path.stat().st_size < 15e6
    opened, heard = look(path)
    median = opened.evaluate(FRAME, 60)
    assert median < 150
    assert heard == []
