"""Settings of the documentation: `make docs` builds it without a network."""

import sys
from pathlib import Path

import mrcascade

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "mrcascade"
author = "The mrcascade developers"
release = version = mrcascade.__version__
copyright = "The mrcascade developers. Apache-2.0"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "reference_pages",
]
exclude_patterns = ["_ext"]
default_role = "code"
smartquotes = False  # they would turn the dashes of options into one

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings state shapes and units, which the types do not
# Adapters derive classes from those of libraries that a build does not need.
autodoc_mock_imports = ["monai", "torchio"]
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "mrcascade"
html_show_sourcelink = False
templates_path: list[str] = []

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/\d\d_",
    "example_extensions": {".py"},
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "abort_on_example_error": True,
    "plot_gallery": "True",
    "notebook_extensions": set(),
}
