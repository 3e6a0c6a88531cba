"""The pages in a real Chromium: sliders move pixels, keys work, nothing is logged."""

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.output.report.page import IndexEntry, write_index

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
PHONE, DESKTOP = (390, 800), (1280, 900)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not on the PATH"),
]


class Browser:
    """A tab of a headless Chromium without a network."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        """Show a file and wait for its pictures."""
        width, height = size
        device = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        self.driver.get(path.as_uri())

    def ready(self) -> None:
        """Wait until the viewer has decoded its pictures."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 30).until(
            lambda d: d.execute_script("return document.documentElement.dataset.ready")
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script."""
        return self.driver.execute_script(script, *arguments)

    def keys(self, element: str, keys: str) -> None:
        """Type ``keys`` with the focus on the element of this id."""
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.ID, element).send_keys(keys)
        self.frame()

    def click(self, element: str) -> None:
        """Click the element of this id."""
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.ID, element).click()
        self.frame()

    def frame(self) -> None:
        """Wait until a requested frame is drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => setTimeout(() => requestAnimationFrame(() => done())))"
        )

    def pixels(self, canvas: str) -> Any:
        """(H, W, 3) of a canvas."""
        uri = self.run("return document.getElementById(arguments[0]).toDataURL('image/png')", canvas)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))[..., :3]

    def set(self, slider: str, value: float) -> None:
        """Move a slider as a pointer does."""
        self.run(
            "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
            "s.dispatchEvent(new Event('input'))",
            slider,
            value,
        )
        self.frame()

    def text(self, element: str) -> str:
        """The text of the element of this id."""
        return str(self.run("return document.getElementById(arguments[0]).textContent", element))

    def background(self) -> int:
        """Brightness of the page, 0 to 255."""
        colour = self.run("return getComputedStyle(document.body).backgroundColor")
        return int(colour.removeprefix("rgb(").split(",")[0])

    def log(self) -> list[Any]:
        """What the console got since the last call."""
        return list(self.driver.get_log("browser"))


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture
def viewer(tab: Browser, page: Path) -> Iterator[Browser]:
    """The page of a fusion, ready; its console must stay empty."""
    tab.open(page)
    tab.ready()
    yield tab
    assert tab.log() == []


def srgb(light: Any) -> Any:
    """IEC 61966-2-1."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255


@pytest.mark.parametrize("ev", [-2.0, 0.0, 3.0])
def test_the_exposure_slider_shows_linear_light(viewer: Browser, fused: FusionResult, ev: float) -> None:
    viewer.set("exposure", ev)
    expected = srgb(fused.radiance * 2.0**ev)
    assert np.abs(viewer.pixels("after") - expected).max() <= 3
    assert viewer.text("exposure-value") == f"{'−' if ev < 0 else '+'}{abs(ev):.2f} EV"


def test_highlights_come_back_in_the_result_and_stay_white_in_the_reference(
    viewer: Browser, fused: FusionResult
) -> None:
    clipped = (fused.burst.frames[1].codes == 255).all(axis=2)
    assert clipped.mean() > 0.01
    viewer.set("exposure", -2)
    before, after = viewer.pixels("before")[clipped], viewer.pixels("after")[clipped]
    assert np.ptp(before.astype(int)) <= 1
    assert after.mean() > before.mean() + 20


def test_a_page_opens_tone_mapped_and_returns_to_it(viewer: Browser) -> None:
    first = viewer.pixels("after")
    assert viewer.text("exposure-value") == "tone-mapped"
    viewer.set("exposure", 2)
    exposed = viewer.pixels("after")
    viewer.click("tone")
    assert (viewer.pixels("after") == first).all()
    assert (exposed != first).any()


def test_the_divider_moves_by_slider_and_by_dragging(viewer: Browser) -> None:
    clip = "return getComputedStyle(document.getElementById('before')).clipPath"
    assert viewer.run(clip) == "inset(0px 50% 0px 0px)"
    viewer.set("split", 80)
    assert viewer.run(clip) == "inset(0px 20% 0px 0px)"

    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    stage = viewer.driver.find_element(By.ID, "stage")
    quarter = round(stage.size["width"] / 4)
    ActionChains(viewer.driver).move_to_element(stage).click_and_hold().move_by_offset(-quarter, 0).release().perform()
    viewer.frame()
    assert abs(int(viewer.run("return document.getElementById('split').value")) - 25) <= 1


def test_the_uncertainty_lies_over_the_result(viewer: Browser, fused: FusionResult) -> None:
    from smarthdr_cli.output.heatmap import colour_index, colour_table

    opacity = "return getComputedStyle(document.getElementById('overlay')).opacity"
    assert viewer.run(opacity) == "0"
    viewer.set("opacity", 60)
    assert viewer.run(opacity) == "0.6"
    assert (viewer.pixels("overlay") == colour_table()[colour_index(fused.uncertainty)]).all()
    assert viewer.run("return document.getElementById('legend').hidden") is False
    assert "0.001" in viewer.text("ticks")


def test_everything_works_by_keyboard(viewer: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    viewer.keys("exposure", Keys.ARROW_RIGHT * 4)
    assert viewer.text("exposure-value") == "+1.00 EV"
    viewer.keys("split", Keys.END)
    assert viewer.text("split-value") == "100 %"
    viewer.keys("tone", "-")
    assert viewer.text("exposure-value") == "+0.50 EV"
    viewer.keys("tone", "[")
    assert viewer.text("split-value") == "95 %"
    viewer.keys("tone", "u")
    assert viewer.text("opacity-value") == "75 %"
    viewer.keys("tone", "t")
    assert viewer.text("exposure-value") == "tone-mapped"
    viewer.keys("tone", Keys.SPACE)
    assert viewer.text("exposure-value") == "+0.50 EV"


def test_a_place_says_its_light_and_uncertainty(viewer: Browser, fused: FusionResult) -> None:
    viewer.run(
        "const s = document.getElementById('stage'), b = s.getBoundingClientRect();"
        "const place = {clientX: b.left + b.width * 0.7, clientY: b.top + b.height * 0.4};"
        "s.dispatchEvent(new PointerEvent('pointermove', place))"
    )
    height, width = fused.uncertainty.shape
    sigma = float(fused.uncertainty[int(height * 0.4), int(width * 0.7)])
    text = viewer.text("probe")
    assert "EV from the reference's clip" in text
    assert float(text.rpartition(" ")[2]) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_nothing_is_wider_than_the_screen(tab: Browser, page: Path, size: tuple[int, int]) -> None:
    tab.open(page, size)
    tab.ready()
    assert tab.run("return document.documentElement.scrollWidth") <= size[0]
    assert tab.run("return document.getElementById('stage').getBoundingClientRect().width") >= 200
    assert tab.log() == []


def test_dark_and_light(tab: Browser, page: Path) -> None:
    tab.open(page, scheme="dark")
    assert tab.background() < 60
    tab.open(page, scheme="light")
    assert tab.background() > 200


def test_the_index_sorts_and_keeps_failures_on_top(tab: Browser, tmp_path: Path) -> None:
    entries = [
        IndexEntry("a", "ok", uncertainty=0.002, seconds=9.0),
        IndexEntry("b", "ok", uncertainty=0.010, seconds=3.0, warnings=("one", "two")),
        IndexEntry("c", "skipped", uncertainty=0.005, seconds=5.0, warnings=("one",)),
        IndexEntry("d", "failed", problem="d.jpg is cut short"),
        IndexEntry("e", "ambiguous", problem="the evidence is thin"),
    ]
    write_index(entries, tmp_path / "index.html", "merged")
    tab.open(tmp_path / "index.html")
    names = "return Array.from(document.querySelectorAll('#sets h2'), (h) => h.textContent).join('')"
    press = "document.querySelector(`button[data-key=${arguments[0]}]`).click()"
    assert tab.run(names) == "deabc"
    for key, order in (("uncertainty", "debca"), ("seconds", "deacb"), ("warnings", "debca"), ("order", "deabc")):
        tab.run(press, key)
        assert tab.run(names) == order, key
    assert tab.log() == []
