"""The page in Debian's Chromium: it sorts, filters, follows the threshold and links, and asks nobody for anything."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import MISSING, Browser, browse
from tests.report_project import ARABIC, FORMULA, SCRIPT, all_wrong, nothing, write_project

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=f"{MISSING} is not installed")]
TEXTS = """return [...document.querySelectorAll(arguments[0])]
  .filter(each => each.checkVisibility() && getComputedStyle(each).display !== "none").map(each => each.textContent)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browse(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def write_page(folder: Path, monkeypatch: pytest.MonkeyPatch, *detections: object) -> Path:
    from stages.report import run

    monkeypatch.chdir(write_project(folder / "project", *detections))
    run()
    return folder / "project" / "data" / "report" / "index.html"


def texts(browser: Browser, selector: str) -> list[str]:
    return browser.run(TEXTS, selector)


def open_quietly(browser: Browser, page: Path) -> None:
    browser.requests()
    browser.open(page)
    assert browser.requests() == [page.resolve().as_uri()]
    assert browser.logged("browser") == []


def test_a_person_uses_the_page(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = write_page(tmp_path, monkeypatch)
    open_quietly(browser, page)
    names = [SCRIPT, FORMULA, ARABIC]
    assert texts(browser, "#ap tbody th") == names
    objects = "#ap thead th:nth-child(2) button"
    browser.click(objects)
    assert texts(browser, "#ap tbody th") == names  # 6, 3 and 0 objects
    browser.click(objects)
    assert texts(browser, "#ap tbody th") == names[::-1]
    assert browser.run("return document.querySelector('#ap [aria-sort]').getAttribute('aria-sort')") == "ascending"

    first = "#counts tbody tr:first-child td"
    assert texts(browser, first)[:6] == ["5", "1", "0", "1.000", "0.833", "0.909"]
    drawn = ".gallery g:is(.found, .wrong)"
    assert len(texts(browser, drawn)) == 8
    browser.press("#threshold", "\ue010")  # End: the score 1
    assert texts(browser, first)[:6] == ["0", "6", "0", "–", "0.000", "0.000"]
    assert texts(browser, drawn) == []
    assert len(texts(browser, "text.missed")) == 9
    browser.press("#threshold", "\ue012" * 15)  # Left: 0.85, which the two at 0.9 and the one at 0.95 reach
    assert texts(browser, "#score") == ["0.850"]
    assert texts(browser, first)[:3] == ["2", "4", "0"]
    assert len(texts(browser, drawn)) == 3

    browser.run("const c = document.getElementById('class'); c.value = '2'; c.dispatchEvent(new Event('change'))")
    assert texts(browser, "#counts tbody th") == [FORMULA]
    assert len(texts(browser, ".gallery > figure")) == 4
    assert browser.run("return document.querySelectorAll('polyline.chosen').length") == 4

    browser.click('#matrix a[data-cell="1-2"]')
    assert browser.run("return location.hash") == "#picture-1"
    assert texts(browser, ".gallery > figure figcaption bdi:first-child")[:1] == ['a "quoted" & b']
    assert texts(browser, "#shown") == [f"1 of 6 pictures with {FORMULA} detected as {ARABIC}"]
    assert texts(browser, "#score") == ["0.300"]  # that of the matrix
    browser.click("#picture-1 .canvas")
    assert browser.run("return document.getElementById('large').open")
    browser.click("#large button")
    browser.click("[name=group][value=worst]")
    assert texts(browser, "#shown") == ["2 of 6 pictures"]  # the second and the third have objects of class 2
    browser.run("const c = document.getElementById('class'); c.value = '0'; c.dispatchEvent(new Event('change'))")
    assert texts(browser, "#shown") == ["3 of 6 pictures"]
    browser.click("[name=norm][value=shares]")
    assert texts(browser, "#matrix tbody tr:nth-child(2) td span") == ["0.33", "0.33", "0.33"]
    assert browser.logged("browser") == []
    assert browser.requests() == []
    assert not browser.run("return document.querySelectorAll('main img:not([alt]), main img[alt=\"\"]').length")


@pytest.mark.parametrize("detections", [nothing(), all_wrong()], ids=["nothing is detected", "all is wrong"])
def test_a_broken_detector(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detections: object
) -> None:
    open_quietly(browser, write_page(tmp_path, monkeypatch, detections))
    browser.press("#threshold", "\ue011")  # Home
    assert texts(browser, "#counts tfoot td")[:2] == ["0", "9"]
    assert browser.logged("browser") == []


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_the_page_is_as_wide_as_the_screen(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    browser.size(width, 800)
    open_quietly(browser, write_page(tmp_path, monkeypatch))
    assert browser.run("return document.documentElement.scrollWidth") == width
