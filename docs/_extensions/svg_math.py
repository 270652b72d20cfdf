"""Formulas as inline SVG, drawn at build time by ziamath.

The pages need no script, no font and no network to show them. The LaTeX source is the drawing's
label, which is what a screen reader says.
"""

from __future__ import annotations

from html import escape
from xml.etree import ElementTree

import ziamath
from docutils import nodes
from sphinx.locale import _
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)

_SIZE = 24  # units of the drawing per em of text

ziamath.config.math.color = "currentColor"  # light and dark themes
ziamath.config.svg2 = False  # no identifiers, which would repeat over a page
ziamath.config.precision = 2


def draw(latex: str, node: nodes.Node, *, inline: bool) -> str:
    """Return an SVG element whose size is in units of the surrounding text."""
    if not inline and r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    try:
        formula = ziamath.Latex(latex, size=_SIZE, inline=inline)
        svg = formula.svgxml()
    except Exception as error:
        logger.warning("formula %r cannot be drawn: %s", latex, error, location=node)
        return f"<code>{escape(latex)}</code>"
    _, top, width, height = map(float, svg.get("viewBox").split())
    svg.set("width", f"{width / _SIZE:.3f}em")
    svg.set("height", f"{height / _SIZE:.3f}em")
    svg.set("role", "img")
    svg.set("aria-label", latex)
    baseline = f"vertical-align:{-(height + top) / _SIZE:.3f}em"
    svg.set("style", baseline if inline else "max-width:calc(100% - 3em)")
    return ElementTree.tostring(svg, encoding="unicode")


def visit_inline(self, node) -> None:
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(draw(node.astext(), node, inline=True) + "</span>")
    raise nodes.SkipNode


def visit_block(self, node) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append(draw(node.astext(), node, inline=False) + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("svg", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
