"""Small pages, and a browser to open them in."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest

from archrep.cells import get_space
from archrep.embeddings import EmbeddingTable
from archrep.explorer import gather, write_page
from archrep.latent_map import LatentMap
from archrep.search import SearchConfig, search
from archrep.tables import open_table

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,900",
)


def embedded(space_name, rows, *, dimensions=8, cells=None):
    """Random embeddings of some cells of a space."""
    space = get_space(space_name)
    cells = space.enumerate()[rows] if cells is None else cells
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(len(cells), dimensions)).astype(np.float32)
    return EmbeddingTable(vectors, cells, space_name)


def flat_map(embeddings):
    """The first two numbers of each embedding as its place."""
    total = len(embeddings)
    return LatentMap(
        embeddings.embeddings[:, :2], np.arange(total), method="pca", perplexity=None, seed=0,
        total=total,
    )  # fmt: skip


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """A finished search of the packaged table."""
    folder = tmp_path_factory.mktemp("searches") / "local"
    config = SearchConfig(table="digits", strategy="local-search", queries=25, runs=3, seed=5)
    search(config, out=folder, workers=1)
    return folder


@pytest.fixture(scope="session")
def contents(searched):
    """What three pages show: by space."""
    rows = np.sort(np.random.default_rng(0).choice(423_624, 300, replace=False))
    nasbench201 = embedded("nasbench201", slice(None))
    nasbench101 = embedded("nasbench101", rows)
    darts = embedded("darts", None, cells=get_space("darts").sample_array(60, seed=2))
    sizes = embedded("nats-size", np.arange(0, 32_768, 500))
    table = open_table("digits")
    return {
        "nasbench201": gather(
            nasbench201, flat_map(nasbench201), run="toy", table=table, searches=[searched]
        ),
        "nasbench101": gather(nasbench101, flat_map(nasbench101), run="toy"),
        "nats-size": gather(sizes, flat_map(sizes), run="toy"),
        "darts": gather(darts, flat_map(darts), run="toy"),
    }


@pytest.fixture(scope="session")
def pages(contents, tmp_path_factory):
    """Addresses of the pages, by space."""
    folder = tmp_path_factory.mktemp("pages")
    for name, content in contents.items():
        write_page(content, folder / f"{name}.html")
    return {name: (folder / f"{name}.html").as_uri() for name in contents}


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A browser of its own, with WebGL in software."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    places = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, place in places.items() if place is None]:
        pytest.skip(f"{' and '.join(missing)} not found: the page is tested in a real browser")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = places["chromium"]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(places["chromedriver"]))
    yield driver
    driver.quit()


class Page:
    """A page in the browser, and what tests ask of it."""

    def __init__(self, driver, address):
        self.driver, self.address = driver, address

    def open(self, fragment=""):
        self.driver.get("about:blank")  # the same address but for its fragment is no reload
        self.driver.get(self.address + fragment)
        self.until("document.documentElement.dataset.ready")
        return self

    def js(self, expression, *arguments):
        return self.driver.execute_script(f"return {expression}", *arguments)

    def until(self, expression, seconds=60):
        """Wait until an expression holds, and return its value."""
        end = time.monotonic() + seconds
        while not (value := self.js(expression)):
            if time.monotonic() > end:
                failure = self.js("document.getElementById('failure')?.textContent")
                raise AssertionError(f"{expression} did not come true. {failure}")
            time.sleep(0.05)
        return value

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def pointer_to(self, row, *, click=False):
        """Move the pointer to a cell; the map begins at the corner of the window."""
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        x, y = self.js("explorer.placeOf(arguments[0])", row)
        actions = ActionBuilder(self.driver, duration=20)
        actions.pointer_action.move_to_location(round(x), round(y))
        if click:
            actions.pointer_action.click()
        actions.perform()
        ActionChains(self.driver).release().perform()

    def console(self):
        """Errors and warnings of the page; what a software renderer says of itself is none."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if "GL Driver Message" not in entry["message"]
        ]


@pytest.fixture
def page(chromium, pages, request):
    """The page of a space, NAS-Bench-201 unless the test asks for another."""
    chromium.get_log("browser")
    name = getattr(request, "param", "nasbench201")
    page = Page(chromium, pages[name])
    page.open()
    yield page
    assert page.console() == []
