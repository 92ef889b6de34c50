"""The page of `tfrs-npa explain` in a real browser; `make test-browser` runs this.

With TFRS_NPA_SCREENSHOTS=DIR, pictures of the page are kept there.
"""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tfrs_npa.explaining.page import page

EVIL = "<script>document.title = 'attacked'</script><img src=x onerror=alert(1)>"
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmütze " * 3
WIDTHS = [1280, 390]


@pytest.fixture(scope="session")
def driver():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    # Chromium refuses its sandbox to root.
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as driver:
        yield driver


@pytest.fixture(params=["light", "dark"])
def scheme(request):
    return request.param


@pytest.fixture(params=WIDTHS)
def width(request):
    return request.param


@pytest.fixture
def show(driver, tmp_path):
    """Opens a report as a reader would, from a file."""

    def show(report, width=1280, scheme="light", scripts=True):
        file = tmp_path / "report.html"
        file.write_text(page(report), encoding="utf-8")
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get_log("browser")
        driver.get(file.as_uri())
        return driver

    return show


def colour(driver, selector, name):
    """A colour of an element as red, green, blue between 0 and 1, and alpha."""
    text = driver.find_element(By.CSS_SELECTOR, selector).value_of_css_property(name)
    numbers = [float(part) for part in text[text.index("(") + 1 : -1].split(",")]
    return [number / 255 for number in numbers[:3]], (numbers[3:] or [1.0])[0]


def luminance(rgb):
    """Relative luminance, as WCAG 2.2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    lighter, darker = sorted([luminance(one), luminance(other)], reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_renders(show, make_report, scheme, width):
    driver = show(make_report(titles=(EVIL, LONG)), width, scheme)
    assert driver.get_log("browser") == []
    # Nothing is wider than the window.
    script = "return document.documentElement.scrollWidth"
    assert driver.execute_script(script) <= width
    ground, _ = colour(driver, "body", "background-color")
    assert (luminance(ground) < 0.5) == (scheme == "dark")
    if folder := os.environ.get("TFRS_NPA_SCREENSHOTS"):
        path = pathlib.Path(folder, f"report-{scheme}-{width}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        driver.save_screenshot(str(path))


def test_contrast(show, make_report, scheme):
    driver = show(make_report(), scheme=scheme)
    ground, _ = colour(driver, "body", "background-color")
    for selector in ("body", ".facts", "caption", ".sum b", "a", "span.more", "span.less"):
        text, alpha = colour(driver, selector, "color")
        assert alpha == 1 and contrast(text, ground) >= 4.5, selector
    # The darkest word.
    shade, alpha = colour(driver, '.headline .word[style*="--w:1"]', "background-color")
    text, _ = colour(driver, ".headline", "color")
    mixed = [alpha * s + (1 - alpha) * g for s, g in zip(shade, ground)]
    assert 0 < alpha < 1 and contrast(text, mixed) >= 4.5


def test_a_script_in_a_headline_stays_text(show, make_report):
    driver = show(make_report(titles=(EVIL, EVIL)))
    assert driver.title.startswith("Why these articles?")
    assert not driver.find_elements(By.TAG_NAME, "img")
    assert "<script>document.title" in driver.find_element(By.CSS_SELECTOR, "#compared").text
    assert driver.get_log("browser") == []


def weights_are_shown(headline):
    return headline.find_element(By.TAG_NAME, "rt").value_of_css_property("visibility") == "visible"


def test_weights_show_under_the_pointer(show, make_report):
    driver = show(make_report())
    headline = driver.find_element(By.CSS_SELECTOR, ".headline")
    assert not weights_are_shown(headline)
    webdriver.ActionChains(driver).move_to_element(headline).perform()
    assert weights_are_shown(headline)
    assert headline.find_element(By.TAG_NAME, "rt").text == "25 +0.30"


def test_weights_show_with_the_keyboard(show, make_report):
    driver = show(make_report(), scripts=False)
    seen = []
    for _ in range(30):
        webdriver.ActionChains(driver).send_keys(Keys.TAB).perform()
        focused = driver.switch_to.active_element
        seen.append(focused.get_attribute("class") or focused.tag_name)
        if seen[-1] == "headline":
            assert weights_are_shown(focused)
    # Links first, then titles, and the details, which the keyboard opens.
    assert seen[:3] == ["a"] * 3 and "headline" in seen and "summary" in seen


def test_articles_without_a_click(show, make_report):
    driver = show(make_report())
    reader = driver.find_element(By.ID, "reader-1")
    output = reader.find_element(By.CLASS_NAME, "without")
    assert output.text == ""
    click = reader.find_elements(By.CSS_SELECTOR, ".clicks > li")[2]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", click)
    webdriver.ActionChains(driver).move_to_element(click).perform()
    # Without the third click, the score is 0.25 instead of -1.25, and the first becomes third.
    expected = "without the click +1.50, no. 1 → 3"
    assert output.get_property("textContent").endswith(expected), output.text
    assert len(reader.find_elements(By.CSS_SELECTOR, "svg .marked")) == 2


def test_without_scripts_everything_can_be_read(show, make_report):
    driver = show(make_report(), scripts=False)
    details = driver.find_element(By.TAG_NAME, "details")
    details.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    rows = details.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert len(rows) == 5 and all("→" in row.text for row in rows)
    assert not driver.find_element(By.CLASS_NAME, "scripted").is_displayed()
