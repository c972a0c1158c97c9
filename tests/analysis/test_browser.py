"""The pages in a real browser, from the disk and without a network: on a desk, on a phone, on paper."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from cohobate.analyse import analyse
from cohobate.analysis.comparison import compare
from cohobate.analysis.report import write_report
from cohobate.config import load
from cohobate.defaults import resolve
from cohobate.display import Silent
from cohobate.scene import Wanted
from cohobate.train import train
from places import SMOKE

FOUND = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
BROWSER = next(filter(None, FOUND), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium or google-chrome")

EVIL = "<script>alert(1)</script>"
FOLDER = "<img src=x onerror=alert(1)>"
FAST = ["optim.epochs=2", "data.name=npz", "data.size=24", "data.batch_size=16", "compile=false"]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PAGES = ("comparison", "analysis")
PATIENCE = 120_000
"""Milliseconds that a step may take at most: the machine may be busy."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Both pages, of trained runs; the name of a class, and that of a run's folder, are markup."""
    folder = tmp_path_factory.mktemp("pages")
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).integers(0, 99, (60, 24, 24, 3), dtype=np.uint8)
    images += 70 * labels[:, None, None, None].astype(np.uint8)
    for name in ("train", "test"):
        np.savez(folder / f"{name}.npz", images=images, labels=labels, classes=["ant", "bee", EVIL])
    runs = {"supervised": folder / "supervised", "mixup": folder / FOLDER}
    for method, path in runs.items():
        settings = [*FAST, f"data.root={folder}", f"method.name={method}"]
        config, _ = resolve(load(SMOKE, settings))
        train(config, path, devices=1, display=Silent())
    title = {"title": EVIL, "intro": EVIL, "command": f"cohobate compare {EVIL}"}
    report = write_report(compare(runs.values()), folder / "report.html", **title)
    twin = shutil.copytree(runs["mixup"], folder / "twin")  # so that labels are paths
    wanted = Wanted(epsilons=(0, 0.1), images=30)
    _, analysis = analyse([*runs.values(), twin], folder / "out", wanted, display=Silent())
    return {"comparison": report, "analysis": analysis}


@pytest.fixture(scope="module")
def opened(pages):
    """Opens a page once; what goes wrong in it is noted: errors, dialogs, requests for anything else."""
    found, wrong = {}, []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER)

        def open_(name, phone):
            if (name, phone) not in found:
                context = browser.new_context(
                    viewport=PHONE if phone else DESK, is_mobile=phone, has_touch=phone
                )
                context.set_default_timeout(PATIENCE)
                page, address = context.new_page(), pages[name].as_uri()
                page.on("console", lambda said: wrong.append(said.text))
                page.on("pageerror", lambda error: wrong.append(str(error)))
                page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
                page.on("request", lambda request: wrong.append(request.url))
                page.goto(address)
                assert wrong.pop(0) == address
                found[name, phone] = page
            return found[name, phone]

        yield open_, wrong
        browser.close()


@pytest.fixture
def visit(opened):
    """A page as if just opened; nothing goes wrong in it."""
    open_, wrong = opened

    def visit_(name, phone=False):
        page = open_(name, phone)
        page.set_viewport_size(PHONE if phone else DESK)
        page.emulate_media(media="screen", color_scheme="light", reduced_motion="reduce")
        page.keyboard.press("Escape")
        return page

    yield visit_
    assert wrong == []


MARKS = """() => Object.fromEntries(Object.keys(figures).map((id) => {
  const box = document.getElementById(id);
  return [id, box.querySelectorAll(".cartesianlayer :is(.scatterlayer, .barlayer, .heatmaplayer) :is(path, image)").length];
}))"""
CUT = """() => [...document.querySelectorAll(".plot")].flatMap((plot) => {
  const box = plot.getBoundingClientRect();
  const texts = [...plot.querySelectorAll(".main-svg text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
  return texts.filter(([, r]) => r.width && (r.left < box.left - 1 || r.right > box.right + 1)).map(([text]) => `${plot.id}: ${text}`);
})"""
OVERLAPS = """() => [...document.querySelectorAll(".plot")].flatMap((plot) => [".xtick", ".ytick"].flatMap((tick) => {
  const level = [...plot.querySelectorAll(`${tick} text`)].filter((text) => !text.getAttribute("transform")?.includes("rotate"));
  const boxes = level.map((text) => text.getBoundingClientRect());
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
  return boxes.filter((a, i) => boxes.some((b, j) => i < j && meet(a, b))).map(() => `${plot.id} ${tick}`);
}))"""
SAID = "id => document.querySelector(`#${id} .hovertext`)?.textContent"
SMALL = """() => [...document.querySelectorAll("main *, .plot text")]
  .filter((e) => e.textContent.trim() && parseFloat(getComputedStyle(e).fontSize) < 11).map((e) => e.outerHTML)"""


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_every_figure_is_drawn_and_nothing_is_cut(visit, name, phone, tmp_path):
    page = visit(name, phone)
    marks = page.evaluate(MARKS)
    assert len(marks) == page.locator(".plot").count() > 2
    assert all(marks.values()), marks
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CUT) == []
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(SMALL) == []
    picture = page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
    assert len(picture) > 50_000


@pytest.mark.parametrize("name", PAGES)
def test_the_table_sorts_by_every_column(visit, name):
    page = visit(name)
    heads = page.locator("#results th")
    for column in range(heads.count()):
        for order in ("descending", "ascending"):
            heads.nth(column).locator("button").focus()
            page.keyboard.press("Enter")
            expect(heads.nth(column)).to_have_attribute("aria-sort", order)
            assert page.locator("[aria-sort]").count() == 1
            cells = page.locator(f"#results tbody td:nth-child({column + 1})")
            values = cells.evaluate_all("cells => cells.map((cell) => cell.dataset.value)")
            if column == 0:
                assert values == sorted(values, reverse=order == "descending")
                continue
            numbers = [float(value) for value in values if value]
            assert values[len(numbers) :] == [""] * (len(values) - len(numbers))
            assert numbers == sorted(numbers, reverse=order == "descending")


PLACES = """id => [...document.querySelectorAll(`#${id} .cartesianlayer :is(.scatterlayer, .barlayer, .heatmaplayer) :is(path, image)`)]
  .slice(0, 20).map((mark) => mark.getBoundingClientRect())
  .flatMap((box) => [0, 0.1, 0.5].flatMap((x) => [0, 0.5, 1].map((y) => [box.x + x * box.width, box.y + y * box.height])))"""


def told(page, figure):
    """What the marks say under the pointer, one after another: the corners of a line are its ends, the
    middle of a dot is the dot."""
    page.locator(f"#{figure}").scroll_into_view_if_needed()
    for x, y in page.evaluate(PLACES, figure):
        page.mouse.move(x, y)
        page.wait_for_timeout(80)  # Plotly looks where the pointer is every 50 ms
        if text := page.evaluate(SAID, figure):
            yield text


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_speaks_under_the_pointer_and_names_are_text(visit, name):
    page = visit(name)
    said = {
        figure: next(told(page, figure), "") for figure in page.evaluate("Object.keys(figures)")
    }
    assert all(said.values()), said
    for details in page.locator("summary").all():
        details.click()
    shown = page.locator("body").inner_text()
    assert FOLDER in shown
    assert EVIL in shown
    assert page.locator("[onerror], script").count() == 3  # theme, Plotly, ours
    if name == "analysis":
        assert FOLDER in " ".join(page.locator(".legend").all_inner_texts())
    else:
        assert any(FOLDER in text for text in told(page, "scores"))


COLOURS = """() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
  getComputedStyle(document.querySelector(".xtitle")).fill, getComputedStyle(document.querySelector("figcaption")).color]"""


def luminance(colour):
    shares = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_the_theme_follows_the_system_until_one_is_chosen(visit, opened):
    page = visit("comparison")
    page.emulate_media(color_scheme="dark")
    seen = {"system": page.evaluate(COLOURS)}
    for theme in ("dark", "light"):
        page.get_by_label("Theme").select_option(theme)
        seen[theme] = page.evaluate(COLOURS)
    page.reload()
    assert opened[1].pop(0) == page.url
    assert page.evaluate(COLOURS) == seen["light"]
    page.get_by_label("Theme").select_option("system")
    assert page.evaluate(COLOURS) == seen["system"] == seen["dark"]
    page.emulate_media(color_scheme="light")
    assert page.evaluate(COLOURS) == seen["light"]
    assert luminance(seen["light"][0]) > 0.9 > 0.1 > luminance(seen["dark"][0])
    for paper, ink, axis, caption in seen.values():
        assert axis == ink
        assert contrast(paper, ink) > 7
        assert contrast(paper, caption) > 4.5


def cell_of(page, label, heading):
    column = page.locator("#results th").all_inner_texts().index(heading)
    row = page.locator("#results tbody tr", has=page.get_by_role("cell", name=label, exact=True))
    return row.locator("td").nth(column)


def test_a_number_leads_to_its_file_and_key(visit, pages):
    """Under the pointer, by the keyboard; what is told holds the number."""
    page = visit("comparison")
    told = page.locator("#source")
    for label, folder in (("supervised", "supervised"), ("mixup", FOLDER)):
        cell = cell_of(page, label, "top-1 (%)")
        cell.hover()
        expect(told).to_have_text(
            f"{pages['comparison'].parent / folder}/metrics.jsonl, last row, test/top1"
        )
        file, _, key = told.inner_text().split(", ")
        score = json.loads(Path(file).read_text().splitlines()[-1])[key]
        assert float(cell.get_attribute("data-value")) == score
    page.keyboard.press("Escape")
    expect(told).to_be_hidden()
    assert page.locator("[aria-describedby=source]").count() == 0
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    cell.focus()  # which scrolls to it
    expect(cell).to_be_in_viewport()
    page.wait_for_timeout(200)
    expect(told).to_contain_text("last row, test/top1")
    expect(told).to_be_in_viewport()
    expect(cell).to_have_attribute("aria-describedby", "source")
    page.keyboard.press("ArrowLeft")
    expect(told).to_contain_text("config.toml")
    page.keyboard.press("ArrowUp")
    expect(told).to_contain_text(str(pages["comparison"].parent / "supervised"))
    assert page.locator("#results td[tabindex='0']").count() == 1
    page.locator("h1").hover()
    expect(told).to_be_hidden()
    assert page.locator("#results td:not([data-source])").count() == 0


def test_a_finger_finds_the_source_of_a_number(visit, pages):
    page = visit("analysis", phone=True)
    told = page.locator("#source")
    page.locator("#results tbody tr").nth(1).locator("td").nth(2).tap()
    expect(told).to_contain_text("numbers.json, portraits[1].nll")
    box = told.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    shown = page.locator("#results tbody tr").nth(1).locator("td").nth(2).inner_text()
    numbers = json.loads((pages["analysis"].parent / "numbers.json").read_text())
    assert shown == f"{numbers['portraits'][1]['nll']:.4f}"


def test_a_method_is_hidden_in_every_figure_that_has_it(visit):
    page = visit("comparison")
    hidden = """() => Object.values(figures).flatMap(({ data }) => data)
      .filter((trace) => trace.legendgroup === "mixup").map((trace) => trace.visible ?? true)"""
    for visible in (True, False, True):
        assert set(page.evaluate(hidden)) == {visible}
        page.locator(".legend button", has_text="mixup").click()


def test_contents_lead_to_every_part_of_a_long_page(visit):
    page = visit("analysis")
    links = page.get_by_role("navigation").get_by_role("link")
    assert links.all_inner_texts() == page.locator("main h2").all_inner_texts()
    links.last.click()
    expect(page.locator("main h2").last).to_be_in_viewport()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title() == "Analysis"


@pytest.mark.parametrize("name", PAGES)
def test_paper_is_light_and_has_no_buttons(visit, name):
    page = visit(name)
    page.set_viewport_size({"width": 700, "height": 990})
    page.emulate_media(media="print", color_scheme="dark")
    paper, ink, axis, _ = page.evaluate(COLOURS)
    assert paper == "rgb(255, 255, 255)"
    assert contrast(paper, ink) > 7 and axis == ink
    for part in ("#theme", "nav", "#source"):
        expect(page.locator(part)).to_be_hidden()
    assert {"avoid"} == {
        *page.locator(".plot").evaluate_all("e => e.map((p) => getComputedStyle(p).breakInside)")
    }
    for _ in range(100):  # the figures take the new width in their own time
        if fits := page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            break
        page.wait_for_timeout(100)
    assert fits
    assert page.pdf(format="A4").startswith(b"%PDF")
