"""The page in a real browser: every figure on it is one that Python computes too."""

from __future__ import annotations

import io
import itertools
import json
import re

import numpy as np
import pytest
from PIL import Image

from archrep.cells import get_space
from archrep.comparison import load_finished
from archrep.explorer.packing import quantise_vectors


def picture(page):
    """The screen as an array."""
    return np.asarray(Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB"))


def rows_on(page):
    return page.until(
        "explorer.state.neighbours.length && explorer.state.neighbours.every(n => n.edits !== null)"
        " && explorer.state.neighbours.map(n => n.row)"
    )


def test_the_map_is_drawn_in_colours(page):
    page.until("explorer.cloud.pictures")
    drawn = picture(page)[100:500, 300:600].astype(int)
    coloured = (drawn.max(-1) - drawn.min(-1)) > 60
    assert 0.02 < coloured.mean() < 0.98


def test_hovering_shows_the_cell_and_its_figures(page, contents):
    row = 4321
    page.js("explorer.setView(...arguments)", *_middle_of(page, row), 2e5)
    page.pointer_to(row)
    page.until("document.getElementById('hover').classList.contains('on')")
    hovered = page.js("explorer.state.hovered")
    card = page.find("#hover")
    assert f"Cell {hovered:,}" in card.text
    accuracy = next(c for c in contents["nasbench201"].columns if c.unit == "%")
    assert f"{100 * accuracy.values[hovered]:.2f} %" in card.text
    assert len(card.find_elements("css selector", "rect")) == 8


def _middle_of(page, row):
    """Place of a row on the map, 0 to 1."""
    x, y = page.js("explorer.placeOf(arguments[0])", row)
    view = page.js("explorer.view")
    return (
        (x - view["width"] / 2) / view["scale"] + view["x"],
        view["y"] - (y - view["height"] / 2) / view["scale"],
    )


def test_a_click_lists_the_neighbours_that_python_finds(page, contents):
    content = contents["nasbench201"]
    row = 777
    page.js("explorer.setView(...arguments)", *_middle_of(page, row), 3e5)
    page.pointer_to(row, click=True)
    page.until("explorer.state.selected >= 0")
    selected = page.js("explorer.state.selected")
    found = rows_on(page)
    codes, steps = quantise_vectors(content.vectors)
    vectors = codes.T * steps
    distances = np.linalg.norm(vectors - vectors[selected], axis=1)
    distances[selected] = np.inf
    assert found == np.argsort(distances, kind="stable")[: len(found)].tolist()
    shown = page.js("explorer.state.neighbours")
    np.testing.assert_allclose([n["distance"] for n in shown], distances[found], rtol=1e-5)
    own = content.cells[selected]
    assert [n["edits"] for n in shown] == [own.edit_distance(content.cells[n]) for n in found]
    assert f"{shown[0]['distance']:.3f}" in page.find("#neighbours").text


def test_walking_on_to_a_neighbour_selects_it(page):
    page.js("explorer.select(5)")
    first = rows_on(page)[0]
    page.driver.execute_script(
        "document.querySelector('#neighbours button').scrollIntoView(); "
        "document.querySelector('#neighbours button').click()"
    )
    assert page.js("explorer.state.selected") == first
    assert f"Cell {first:,}" in page.find("#cell").text


@pytest.mark.parametrize("page", ["nasbench101"], indirect=True)
class TestNasBench101:
    def test_hashes_are_those_of_python(self, page, contents):
        content, space = contents["nasbench101"], get_space("nasbench101")
        hashes = "[...Array(300).keys()].map(r => explorer.moduleHash(explorer.cellOf(r)))"
        assert page.js(hashes) == [space.module_hash(cell) for cell in content.cells]

    def test_notations_are_those_of_python(self, page, contents):
        content, space = contents["nasbench101"], get_space("nasbench101")
        written = page.js("[...Array(300).keys()].map(r => explorer.write(r))")
        assert written == [space.format(cell) for cell in content.cells]

    def test_drawings_show_every_node_and_edge_apart(self, page, contents):
        drawings = page.js(
            "[...Array(300).keys()].map(r => explorer.drawingOf(explorer.cellOf(r)))"
        )
        for cell, text in zip(contents["nasbench101"].cells, drawings, strict=True):
            places = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"', text)
            assert len(places) == len(cell)
            assert text.count("<polygon") == len(cell.edges)
            for one, two in itertools.combinations(np.array(places, float), 2):
                apart = np.abs(one - two)
                assert apart[0] > 100 or apart[1] > 32

    def test_edit_distances_are_those_of_python(self, page, contents):
        cells = contents["nasbench101"].cells
        script = (
            "[...Array(60).keys()].map(r => explorer.editDistance(explorer.cellOf(r), "
            "explorer.cellOf(r + 100)))"
        )
        assert page.js(script) == [cells[r].edit_distance(cells[r + 100]) for r in range(60)]

    def test_a_cell_is_found_by_hash_prefix_index_and_matrix(self, page, contents):
        content, space = contents["nasbench101"], get_space("nasbench101")
        row = next(n for n in range(100, 300) if any(_spellings(content.cells[n])))
        cell, index = content.cells[row], content.ids[row]
        digits = space.module_hash(cell)
        texts = [digits, digits[:8].upper(), str(index), f"{index:,}", space.format(cell)]
        texts += map(space.format, _spellings(cell))
        for text in texts:
            found = page.js("explorer.find(arguments[0]).rows.map(([row]) => row)", text)
            assert row in found, text
        assert page.js("explorer.find('ff00ff00ff00').rows") == []
        assert page.js("explorer.find('<b>').about") == "No such cell on this page."

    def test_the_search_box_leads_to_the_cell(self, page, contents):
        digits = get_space("nasbench101").module_hash(contents["nasbench101"].cells[7])
        page.press("/", digits, "\ue007")
        page.until("explorer.state.selected === 7")
        assert digits in page.find("#cell").text


def _spellings(cell):
    """The cell with two neighbouring nodes exchanged, wherever no edge forbids it."""
    for v in range(1, len(cell) - 2):
        if (v, v + 1) not in cell.edges:
            order = list(range(len(cell)))
            order[v : v + 2] = v + 1, v
            yield cell.permuted(order)


@pytest.mark.parametrize("page", ["darts"], indirect=True)
def test_darts_cells_are_written_found_and_compared_as_in_python(page, contents):
    cells, space = contents["darts"].cells, get_space("darts")
    written = page.js("[...Array(60).keys()].map(r => explorer.write(r))")
    assert written == [space.format(cell) for cell in cells]
    assert page.js("explorer.find(arguments[0]).rows[0][0]", written[31]) == 31
    distances = page.js(
        "[...Array(8).keys()].map(r => explorer.editDistance(explorer.cellOf(r), "
        "explorer.cellOf(r + 8)))"
    )
    assert distances == [cells[r].edit_distance(cells[r + 8]) for r in range(8)]


@pytest.mark.parametrize("page", ["nats-size"], indirect=True)
def test_widths_are_written_and_found_as_in_python(page, contents):
    cells, space = contents["nats-size"].cells, get_space("nats-size")
    written = page.js("[...Array(66).keys()].map(r => explorer.write(r))")
    assert written == [space.format(cell) for cell in cells]
    assert page.js("explorer.find(arguments[0]).rows[0][0]", written[40]) == 40
    page.driver.execute_async_script("explorer.setColour('op_1').then(arguments[0])")
    assert "64 channels" in page.find("#legend").text


def test_architecture_strings_are_those_of_python(page):
    space = get_space("nasbench201")
    cells = space.enumerate()
    written = page.js("[...Array(200).keys()].map(r => explorer.write(r * 70))")
    assert written == [space.format(cells[70 * r]) for r in range(200)]
    assert page.js("explorer.find(arguments[0]).rows[0][0]", written[9]) == 630


def test_colours_come_with_a_legend(page, contents):
    page.driver.execute_async_script("explorer.setColour('op_1').then(arguments[0])")
    legend = page.find("#legend").text
    assert "operation 1 ← 0" in legend
    assert "conv 3x3" in legend
    assert "3,125" in legend
    page.driver.execute_async_script("explorer.setColour('params', false).then(arguments[0])")
    params = _column(contents, "params").values
    note = page.find("#colour-note").text
    assert f"from {params.min():,.0f} to {params.max():,.0f}" in note
    low = np.sort(params)[int(0.02 * (len(params) - 1))]
    assert f"{low:,.0f}" in page.find("#legend").text


def _column(contents, name):
    return next(c for c in contents["nasbench201"].columns if c.name == name)


def test_filters_show_as_many_cells_as_numpy_counts(page, contents):
    columns = {c.name: c.values for c in contents["nasbench201"].columns}
    name = next(n for n in columns if n.startswith("valid_accuracy"))
    fits = (columns["params"] >= 2e5) & (columns["params"] <= 9e5) & (columns[name] >= 0.9)
    page.open(f"#filter=params:200000:900000&filter={name}:0.9:1")
    assert page.js("explorer.shownCount()") == fits.sum() > 100
    assert f"{fits.sum():,} of 15,625 cells are shown" in page.find("#shown").text
    page.driver.execute_script(
        "const to = document.querySelector('[data-column=params] .to');"
        "to.value = '650000'; to.dispatchEvent(new Event('change'))"
    )
    fits &= columns["params"] <= 650000
    assert page.js("explorer.shownCount()") == fits.sum()
    page.driver.execute_async_script("explorer.setColour('op_2').then(arguments[0])")
    for value, (label, _) in enumerate(_column(contents, "op_2").categories):
        left = np.sum(fits & (columns["op_2"] == value))
        assert f"{label}\n{left:,}" in page.find("#legend").text
    page.driver.execute_script(
        "document.querySelectorAll('.filter .remove').forEach(button => button.click())"
    )
    assert page.js("explorer.shownCount()") == 15_625


def test_a_search_is_replayed_query_by_query(page, searched):
    page.open("#search=local:6:1")
    traces = load_finished(searched).traces
    begin = traces.starts[1]
    for step in (1, 2, 3, 25):
        while page.js("explorer.player.step") < step:
            page.driver.execute_script("document.getElementById('step-on').click()")
        text = page.find("#step-text").text
        now, best = begin + step - 1, traces.incumbents[begin + step - 1]
        assert f"Query {step} of 25: Cell {traces.position[now]:,}" in text
        assert f"{100 * np.float32(traces.valid_accuracy[now]):.2f} %" in text
        assert f"query {traces.query[best]}: Cell {traces.position[best]:,}" in text
    page.find("#step-back").click()
    assert page.js("explorer.player.step") == 24
    page.js("(document.getElementById('speed').value = 6, document.getElementById('play').click())")
    page.until("explorer.player.step === 25 && !explorer.player.playing")


def test_a_link_brings_the_view_back(page):
    page.js("explorer.setView(0.4, 0.6, 5000)")
    page.js("explorer.select(99)")
    fragment = "#" + page.js(
        "(explorer.writeLink(), location.hash.slice(1))"
    ) + "&filter=params:0:500000&search=local:7:12&theme=dark"  # fmt: skip
    page.open(fragment)
    view = page.js("explorer.view")
    assert (view["x"], view["y"], view["scale"]) == pytest.approx((0.4, 0.6, 5000), rel=1e-5)
    assert page.js("explorer.state.selected") == 99
    assert page.js("[explorer.player.seed, explorer.player.step]") == [7, 12]
    assert page.js("document.documentElement.dataset.theme") == "dark"
    page.js("explorer.writeLink()")
    again = page.js("location.hash")
    count = page.js("explorer.shownCount()")
    page.open(again)
    page.js("explorer.writeLink()")
    assert page.js("location.hash") == again
    assert page.js("explorer.shownCount()") == count < 15_625


def test_a_damaged_link_is_no_failure(page):
    page.open("#view=x,1&colour=nothing&filter=a:b&filter=params:1&cell=zz&search=gone:1:2")
    assert page.js("explorer.shownCount()") == 15_625
    assert page.js("explorer.state.selected") == -1
    for number in ("1.5", "-3", "1e9"):
        page.open(f"#cell={number}")
        assert page.js("explorer.state.selected") == -1


def test_everything_works_by_keyboard(page):
    map_ = page.find("#map")
    page.driver.execute_script("arguments[0].focus()", map_)
    before = page.js("({...explorer.view})")
    page.press("\ue014", "\ue013", "+")  # right, up, zoom in
    after = page.js("({...explorer.view})")
    assert after["x"] > before["x"]
    assert after["y"] > before["y"]
    assert after["scale"] == pytest.approx(1.4 * before["scale"])
    page.press("\ue007")
    assert page.js("explorer.state.selected") >= 0
    page.press("\ue00c")
    assert page.js("explorer.state.selected") == -1
    page.press("/")
    assert page.js("document.activeElement.id") == "find"
    page.press("\ue00c")
    assert page.js("document.activeElement.id") == "map"
    page.press("?")
    assert page.js("document.getElementById('help').open")
    page.press("\ue00c")
    assert not page.js("document.getElementById('help').open")


def test_tab_reaches_every_part_and_shows_where_it_is(page):
    page.driver.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        page.press("\ue004")
        reached.append(page.js("document.activeElement.id || document.activeElement.tagName"))
        style = page.js("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none", reached[-1]
        if reached[-1] == "search":
            break
    for part in ("map", "find", "copy-link", "theme", "zoom-in", "colour", "filter-add", "search"):
        assert part in reached


def test_every_control_has_a_name(page):
    page.js("explorer.select(3)")
    rows_on(page)
    nameless = page.js(
        "[...document.querySelectorAll('button, input, select')].filter(e => !(e.textContent.trim()"
        " || e.ariaLabel || e.labels?.length || e.title)).map(e => e.outerHTML)"
    )
    assert nameless == []


@pytest.fixture
def phone(page):
    """The page on a screen of 360 x 740 with fingers."""
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    yield page.open()
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _touch(page, kind, *places):
    points = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(places)]
    event = {"type": kind, "touchPoints": points}
    page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)


def test_a_phone_shows_map_and_sheet(phone):
    phone.js("explorer.select(3)")
    rows_on(phone)
    assert phone.js("document.documentElement.scrollWidth") == 360
    assert phone.js("document.getElementById('map').clientWidth") == 360
    height = phone.js("document.getElementById('map').clientHeight")
    assert 250 < height < 500
    phone.find("#sheet").click()
    phone.until(f"document.getElementById('map').clientHeight > {height + 100}")


def test_fingers_move_zoom_and_select(phone):
    before = phone.js("({...explorer.view})")
    _touch(phone, "touchStart", (180, 200))
    _touch(phone, "touchMove", (120, 200))
    _touch(phone, "touchEnd")
    moved = phone.js("({...explorer.view})")
    assert moved["x"] == pytest.approx(before["x"] + 60 / before["scale"])
    _touch(phone, "touchStart", (150, 200), (210, 200))
    _touch(phone, "touchMove", (120, 200), (240, 200))
    _touch(phone, "touchEnd")
    assert phone.js("explorer.view.scale") == pytest.approx(2 * moved["scale"], rel=0.01)
    assert phone.js("explorer.state.selected") == -1
    row = 4242
    phone.js("explorer.setView(...arguments)", *_middle_of(phone, row), 2e5)
    x, y = phone.js("explorer.placeOf(arguments[0])", row)
    _touch(phone, "touchStart", (x, y))
    _touch(phone, "touchEnd")
    phone.until("explorer.state.selected >= 0")


def test_the_wheel_zooms_about_the_pointer(page):
    before = page.js("({...explorer.view})")
    wheel = {"type": "mouseWheel", "x": 200, "y": 300, "deltaX": 0, "deltaY": -240}
    page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
    page.until(f"explorer.view.scale > {before['scale'] * 1.2}")
    after = page.js("({...explorer.view})")
    for view in (before, after):
        view["under"] = (200 - view["width"] / 2) / view["scale"] + view["x"]
    assert after["under"] == pytest.approx(before["under"])


def test_dragging_pans_and_selects_nothing(page):
    from selenium.webdriver import ActionChains

    before = page.js("({...explorer.view})")
    actions = ActionChains(page.driver, duration=30)
    actions.move_to_element_with_offset(page.find("#map"), 30, 20)
    actions.click_and_hold().move_by_offset(50, 40).release().perform()
    after = page.js("({...explorer.view})")
    assert after["x"] == pytest.approx(before["x"] - 50 / before["scale"])
    assert after["y"] == pytest.approx(before["y"] + 40 / before["scale"])
    assert page.js("explorer.state.selected") == -1


def test_nothing_is_fetched(page):
    page.driver.get_log("performance")
    page.open("#cell=3")
    rows_on(page)
    asked = set()
    for entry in page.driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    outside = [url for url in asked if not re.match(r"blob:|data:|about:", url)]
    assert {url.split("#")[0] for url in outside} == {page.address}


def test_without_webgl_the_page_says_so(page):
    script = "HTMLCanvasElement.prototype.getContext = () => null"
    command = "Page.addScriptToEvaluateOnNewDocument"
    added = page.driver.execute_cdp_cmd(command, {"source": script})
    try:
        page.driver.get("about:blank")
        page.driver.get(page.address)
        page.until("!document.getElementById('failure').hidden")
        assert "WebGL 2" in page.find("#failure").text
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_themes_change_and_are_kept(page):
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.js(background)
    page.find("#theme").click()
    assert page.js(background) != light
    assert page.js("(explorer.writeLink(), location.hash)").endswith("theme=dark")
