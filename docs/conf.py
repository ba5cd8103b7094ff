"""Sphinx settings; fills the command line and API pages from the package itself."""

import logging
import os
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import version as installed_version

import archrep
from archrep.cli.main import COMMANDS

logging.getLogger("openTSNE").setLevel(logging.WARNING)

project = "archrep"
author = "the archrep authors"
release = version = installed_version("archrep")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "pictures",  # made by the build
    "filename_pattern": "plot_",
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "capture_repr": (),
    "plot_gallery": "True",
    "abort_on_example_error": True,
}
exclude_patterns = ["_build", "gallery"]
html_theme = "furo"
html_title = f"archrep {release}"
myst_heading_anchors = 3
suppress_warnings = ["myst.strikethrough"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}


def cli_page() -> str:
    """`--help` of every command, as it is."""
    parts = []
    for command in ("", *COMMANDS):
        shown = f"archrep {command}".strip()
        done = subprocess.run(
            [sys.executable, "-m", "archrep.cli.main", *command.split(), "--help"],
            env=os.environ | {"COLUMNS": "90", "NO_COLOR": "1", "TERM": "dumb"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"`{shown} --help` failed: {done.stderr}")
        parts.append(f"## {shown}\n\n```text\n{done.stdout.strip()}\n```\n")
    return "\n".join(parts)


def api_page() -> str:
    """One section a module, in the order of the package; packages only say what they are for."""
    parts = []
    for module in pkgutil.walk_packages(archrep.__path__, "archrep."):
        if module.name.startswith("archrep.cli") or "._" in module.name:
            continue
        option = "   :no-members:\n" if module.ispkg else ""
        directive = f".. automodule:: {module.name}\n{option}"
        parts.append(f"## {module.name}\n\n```{{eval-rst}}\n{directive}```\n")
    return "\n".join(parts)


def fill(app, docname, source):
    for mark, page in (("<!-- cli -->", cli_page), ("<!-- api -->", api_page)):
        if docname in mark:
            source[0] = source[0].replace(mark, page())


def backticks(app, what, name, obj, options, lines):
    """Docstrings write code as `code`; in reStructuredText that takes two backticks."""
    lines[:] = [re.sub(r"(?<![`:])`([^`]+)`(?!`)", r"``\1``", line) for line in lines]
    if what in ("attribute", "data", "property"):
        app.env.temp_data[name] = list(lines)


def keep_colons(app, what, name, obj, options, lines):
    """Napoleon takes "Matrix: 1 for an edge" of a property for "type: description"; undo that."""
    if name in app.env.temp_data:
        lines[:] = app.env.temp_data.pop(name)


def setup(app):
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", backticks, priority=0)
    app.connect("autodoc-process-docstring", keep_colons, priority=999)
