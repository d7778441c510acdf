"""Shared parts of all SVG pictures: style, frame, text and boxes.

The functions return strings, with all text escaped. All lengths are in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

MARGIN = 32

STYLE = """
  text { font-family: ui-sans-serif, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
  .card { fill: #ffffff; stroke: #e4e7ec }
  .title { font-size: 20px; font-weight: 700; fill: #101828 }
  .sub { font-size: 13px; fill: #667085 }
  .label { font-size: 14px; font-weight: 600; fill: #344054 }
  .small { font-size: 12px; fill: #667085 }
  .verdict { font-size: 13px; text-anchor: end }
  .cell { text-anchor: middle }
  .given { fill: #101828; font-weight: 700 }
  .model { fill: #2563eb; font-weight: 500 }
  .right { fill: #067647; font-weight: 500 }
  .wrong { fill: #d92d20; font-weight: 700 }
  .givenbox { fill: #f2f4f7 }
  .plainbox { fill: #ffffff; stroke: #e4e7ec }
  .changedbox { fill: #fde68a }
  .solidbox { fill: #475467; shape-rendering: crispEdges }
  .endbox { fill: #7c3aed }
  .end { fill: #ffffff; font-weight: 700 }
  circle.model { fill: #2563eb }
  circle.right { fill: #12b76a }
  circle.wrong { fill: #d92d20 }
  circle.missed { fill: none; stroke: #d92d20 }
  .thin { stroke: #d0d5dd; stroke-width: 1 }
  .thick { stroke: #475467; stroke-width: 2 }
  .frame { fill: none; stroke: #475467; stroke-width: 2 }
  .track { fill: #eaecf0 }
  .bar { fill: #7c3aed }
  .mesh { stroke: #667085 }
  .cross { fill: none; stroke: #ffffff; stroke-linecap: round }
  .crossedge { fill: none; stroke: #101828; stroke-linecap: round }
  .arrow { fill: none; stroke: #98a2b3; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
"""


def document(width: float, height: float, title: str, subtitle: str, parts: Sequence[str]) -> str:
    """A complete SVG document: a white card with a title, a subtitle and the given parts."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="16"/>',
            text_at(MARGIN, 44, "title", title),
            text_at(MARGIN, 68, "sub", subtitle),
            *parts,
            "</svg>",
            "",
        ]
    )


def text_at(x: float, y: float, style: str, text: str) -> str:
    """Text whose baseline begins at (x, y)."""
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def box_at(style: str, x: float, y: float, width: float, height: float) -> str:
    """A filled rectangle."""
    return f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>'
