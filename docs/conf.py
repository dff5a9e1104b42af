"""The site: pages in MyST, notebooks executed by the build, the reference made from the code. `scripts/run docs`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "ext"))

from site_pages import api, commands, keys  # noqa: E402

import mlp_jax  # noqa: E402

project = "mlp_jax"
author = "the authors of mlp_jax"
copyright = "2026, the authors of mlp_jax"
version = release = mlp_jax.__version__

extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_build", "ext", "**.ipynb_checkpoints"]
suppress_warnings: list[str] = []

# --- pages ------------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "fieldlist"]
myst_heading_anchors = 4
myst_all_links_external = False
highlight_language = "none"  # a block says its language

# --- notebooks --------------------------------------------------------------------------------------

nb_execution_mode = "force"
nb_execution_show_tb = True  # of a cell that failed, which is a warning, and so the end
nb_execution_timeout = 600  # a cell takes seconds, on a machine that does nothing else
nb_merge_streams = True
nb_execution_in_temp = True
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["IPYTHONDIR"] = str(HERE / "ext" / "ipython")
os.environ["MLP_JAX_CONFIGS"] = str(HERE.parent / "configs")  # whose tables the pages use
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # mlp-jax, pytest

# --- looks ------------------------------------------------------------------------------------------

html_theme = "sphinx_book_theme"
html_title = "mlp_jax"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"show_toc_level": 2, "use_download_button": False, "navbar_persistent": []}
toc_object_entries_show_parents = "hide"


def write_reference() -> None:
    """The pages that are made from code; written only where they changed, so that a second build is quick."""
    made = HERE / "reference" / "made"
    made.mkdir(exist_ok=True)
    pages = {name: api.page(title, modules) for name, (title, modules) in api.PAGES.items()}
    for name, text in {**pages, "configuration": keys.page(), "commands": commands.page()}.items():
        file = made / f"{name}.md"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


write_reference()
