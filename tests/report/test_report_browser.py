"""Reports in a browser: slider, zoom, keys, sorting; nothing is loaded and nothing goes wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_pages import LAYERS, stacks, write_page

from mrcascade.io import Display
from mrcascade.pictures.report.facts import Section
from mrcascade.pictures.report.overview import OverviewRow, write_overview

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = pytest.mark.slow

ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1000,800", "--force-device-scale-factor=1"),
)
BAD = '<img src=x onerror="document.body.dataset.bad=1"><script>document.title="bad"</script>'


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_script_timeout(60)
    yield opened
    opened.quit()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens a page of flat images: before 42, after 74 plus the number of the slice."""
    shape = (4, 20, 30)
    images = {"data": np.full(shape, 42.0), "result": np.full(shape, 74.0)}
    images["result"] += np.arange(4)[:, None, None]
    images["std"] = np.full(shape, 7.0)
    display = Display(left="R", right="L", top="A", bottom="P", aspect=1.5)
    path = write_page(tmp_path / "r.html", images, display, title=BAD, warnings=[BAD], unit=BAD)
    browser.get(path.as_uri())
    drawn(browser, 2)
    yield browser
    check_quiet(browser, path)


def drawn(browser: Any, number: int) -> None:
    """Wait until a slice is drawn."""
    browser.execute_async_script(
        """
        const [number, done] = arguments, canvas = document.querySelector("canvas");
        const look = () => (canvas.dataset.drawn === `${number}` ? done() : setTimeout(look, 20));
        look();
        """,
        number,
    )


def check_quiet(browser: Any, path: Path) -> None:
    """Nothing in the console, and no request besides the page and what it holds."""
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    # The log also has requests of other pages, such as Chromium's first one.
    asked = {one["request"]["url"] for one in sent if one["documentURL"] == path.as_uri()}
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}


def grey(browser: Any, across: float, down: float = 0.3) -> list[int]:
    """Colour of the canvas at shares of its width and height."""
    script = """
        const [across, down] = arguments, canvas = document.querySelector("canvas");
        const x = Math.floor(across * canvas.width), y = Math.floor(down * canvas.height);
        const copy = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
        copy.drawImage(canvas, -x, -y);
        return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
    """
    return [int(value) for value in browser.execute_script(script, across, down)]


def press(browser: Any, keys: str) -> None:
    browser.switch_to.active_element.send_keys(keys)


def until(browser: Any, true: Callable[[], bool]) -> None:
    """Wait until something is drawn."""
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 60, 0.02).until(lambda _: true())


def level(value: float) -> list[int]:
    return [round(255 * (value - 10) / 80)] * 3


def slide(browser: Any, selector: str, value: int) -> None:
    browser.execute_script(
        "const one = document.querySelector(arguments[0]); one.value = arguments[1];"
        " one.dispatchEvent(new Event('input', {bubbles: true}));",
        selector,
        value,
    )


def test_the_wipe_shows_before_and_after(page: Any) -> None:
    assert grey(page, 0.4) == level(42)
    assert grey(page, 0.6) == level(76)
    slide(page, "#wipe", 70)
    assert grey(page, 0.6) == level(42)
    press(page, " ")
    assert grey(page, 0.7) == level(42)
    press(page, " ")
    assert grey(page, 0.4) == level(76)
    page.execute_script(
        "const one = document.getElementById('layout'); one.value = 'side';"
        " one.dispatchEvent(new Event('change'));"
    )
    assert grey(page, 0.25) == level(42)
    assert grey(page, 0.75) == level(76)
    # True aspect: 20 rows of 1.5 beside 30 columns make a square in each pane.
    shape = "const c = document.querySelector('canvas'); return c.width / c.height"
    assert page.execute_script(shape) == pytest.approx(2, abs=0.01)


def test_slices_by_slider_and_keys(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    slide(page, "figure input", 0)
    drawn(page, 0)
    assert grey(page, 0.6) == level(74)
    page.execute_script("document.querySelector('canvas').focus()")
    press(page, Keys.ARROW_RIGHT)
    drawn(page, 1)
    assert grey(page, 0.6) == level(75)
    press(page, Keys.PAGE_UP)
    drawn(page, 3)
    label = page.execute_script("return document.querySelector('figcaption output').textContent")
    assert label == "slice 4 of 4"
    described = page.execute_script("return document.querySelector('canvas').ariaLabel")
    assert described == "slice 4 of 4: data on the left, result on the right"


def test_zoom_and_pan(page: Any) -> None:
    zoom = "return document.body.dataset.zoom"
    press(page, "++")
    assert page.execute_script(zoom) == "1.563"
    press(page, "-")
    assert page.execute_script(zoom) == "1.250"
    press(page, "0")
    assert page.execute_script(zoom) == "1.000"
    actions = webdriver.ActionChains(page)
    canvas = page.find_element("css selector", "canvas")
    before = grey(page, 0.62, 0.9)
    # Away from the line, a drag moves the image; the ground behind it is black.
    height = canvas.size["height"]
    actions.move_to_element_with_offset(canvas, 120, 0).click_and_hold()
    actions.move_by_offset(0, -int(0.3 * height)).release().perform()
    assert before == level(76)
    assert grey(page, 0.62, 0.9) == [0, 0, 0]


def test_the_deviation_lies_over_the_image(page: Any) -> None:
    off = grey(page, 0.6)
    assert off == level(76)
    press(page, "s")
    until(page, lambda: grey(page, 0.6) != off)
    # The brightest colour of the map, at its opacity of 0.8.
    brightest = np.array([0xFC, 0xFD, 0xBF])
    np.testing.assert_allclose(grey(page, 0.6), 0.8 * brightest + 0.2 * np.array(off), atol=1.5)
    press(page, "s")
    until(page, lambda: grey(page, 0.6) == off)


def test_text_of_files_does_not_run(page: Any) -> None:
    assert page.execute_script("return document.body.dataset.bad ?? ''") == ""
    assert page.title == BAD
    assert page.find_element("tag name", "h1").text == BAD


def test_titles_do_not_run_into_each_other(browser: Any, tmp_path: Path) -> None:
    """As in the reformatted planes, which have half of the page's width."""
    long = "7 thick slices, as the result explains the data, in the order of their acquisition"
    layers = [replace(one, title=f"{one.role} {long}") for one in LAYERS]
    path = write_page(tmp_path / "r.html", stacks((2, 20, 30)), layers=layers)
    browser.get(path.as_uri())
    drawn(browser, 1)
    texts = browser.execute_script(
        """
        const canvas = document.querySelector("canvas"), context = canvas.getContext("2d");
        const found = [], write = context.fillText.bind(context);
        context.fillText = (text, x, y) => {
          const width = context.measureText(text).width;
          found.push([text, context.textAlign === "right" ? x - width : x, width]);
          write(text, x, y);
        };
        document.getElementById("wipe").dispatchEvent(new Event("input"));
        return found;
        """
    )
    (before, left, width), (after, right, _) = (one for one in texts if len(one[0]) > 1)
    assert before.startswith("before 7 thick slices")
    assert after.startswith("after 7 thick slices")
    assert before.endswith("…") and after.endswith("…")  # noqa: PT018
    assert 0 < left < left + width < right
    check_quiet(browser, path)


def test_the_page_follows_the_theme_of_the_system(browser: Any, tmp_path: Path) -> None:
    rows = [("Mode", "mean")]
    sections = [Section("Run", rows), Section("All settings", rows, folded=True)]
    path = write_page(
        tmp_path / "r.html", stacks((2, 8, 8)), warnings=["careful"], sections=sections
    )
    browser.get(path.as_uri())
    contrasts = """
        const light = (text) => {
          const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((one) => {
            const part = one / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
          });
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = (one) => {
          const colour = getComputedStyle(one).backgroundColor;
          return /, 0\\)$/.test(colour) ? ground(one.parentElement) : colour;
        };
        const names = "h1, header p, .warnings li, button, .hint, summary, .facts th".split(", ");
        return names.map((name) => {
          const one = document.querySelector(name);
          const both = [light(getComputedStyle(one).color), light(ground(one))];
          return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
        });
    """
    grounds = []
    for theme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        script = "return getComputedStyle(document.body).backgroundColor"
        grounds.append(browser.execute_script(script))
        assert min(browser.execute_script(contrasts)) >= 4.5  # WCAG 2.2, 1.4.3 (AA)
    assert grounds == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]
    assert not browser.find_element("css selector", "details table").is_displayed()
    browser.find_element("css selector", "summary").click()
    assert browser.find_element("css selector", "details table").is_displayed()
    check_quiet(browser, path)


def test_the_table_sorts(browser: Any, tmp_path: Path) -> None:
    rows = [
        OverviewRow("b", "done", noise=0.02, seconds=10.0),
        OverviewRow("a10", "failed", messages=[BAD]),
        OverviewRow("a9", "done", noise=0.003, seconds=9.0),
    ]
    path = tmp_path / "report.html"
    write_overview(path, "files", rows)
    browser.get(path.as_uri())

    def names(heading: str) -> list[str]:
        buttons = browser.find_elements("css selector", "th button")
        next(button for button in buttons if button.text == heading).click()
        cells = browser.find_elements("css selector", "tbody td:nth-child(2)")
        return [cell.get_attribute("data-key") for cell in cells]

    assert names("File") == ["a9", "a10", "b"]
    assert names("File") == ["b", "a10", "a9"]
    assert names("Time") == ["a9", "b", "a10"]  # nothing known comes last
    assert names("Noise") == ["a9", "b", "a10"]
    assert browser.execute_script("return document.body.dataset.bad ?? ''") == ""
    check_quiet(browser, path)
