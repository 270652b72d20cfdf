"""Configuration of the site; nothing here needs the network."""

import inspect
import sys
from pathlib import Path

import skec

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "skec"
author = "the skec developers"
copyright = "2026, the skec developers"
version = release = skec.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "svg_math",
]
exclude_patterns = ["_build", "_extensions"]
templates_path = ["_templates"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

html_math_renderer = "svg"  # formulas are drawn at build time
html_theme = "furo"
html_title = f"skec {release}"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_default_options = {"members": True, "inherited-members": True}
autodoc_typehints = "none"  # the docstrings give the types
numpydoc_show_class_members = False


def skip_foreign(app, what, name, obj, skip, options):
    """Leave out the members that come from other packages: they are documented there."""
    function = inspect.unwrap(getattr(obj, "fget", obj))
    module = getattr(function, "__module__", None) or "skec"
    return True if module.partition(".")[0] != "skec" else None


def setup(app):
    app.connect("autodoc-skip-member", skip_foreign)
