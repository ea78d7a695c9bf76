"""An executed notebook as one HTML page that asks nothing of the network: pictures inside, formulas set by the vendored KaTeX.

nbconvert alone would fetch MathJax and require.js from a content network each time the page is opened.
"""

import base64
import re
from functools import cache
from pathlib import Path

from nbformat import NotebookNode

VENDOR = Path(__file__).parent / "vendor" / "katex"
# nbconvert sets highlighted code in Markdown output in the text's own font
STYLE = "<style>.jp-RenderedMarkdown .highlight pre {font-family: var(--jp-code-font-family, monospace); font-size: 13px; line-height: 1.4}</style>"
SET_FORMULAS = r"""
const formula = /\$\$([\s\S]+?)\$\$|\$([^$\s](?:[^$\n]*[^$\s])?)\$/;
document.querySelectorAll(".jp-RenderedMarkdown").forEach((root) => {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) if (!walker.currentNode.parentElement.closest("pre, code")) texts.push(walker.currentNode);
  texts.forEach((text) => {
    for (let node = text, match; (match = formula.exec(node.data)); ) {
      const rest = node.splitText(match.index), after = rest.splitText(match[0].length), span = document.createElement("span");
      katex.render(match[1] || match[2], span, {displayMode: Boolean(match[1]), throwOnError: false});
      rest.replaceWith(span);
      node = after;
    }
  });
});
"""


def to_html(notebook: NotebookNode, name: str) -> str:
    """The page of an executed notebook, `name` in its title; formulas bring KaTeX (0.6 MB) into it."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="lab", require_js_url="", jquery_url="", mathjax_url="")
    page = exporter.from_notebook_node(notebook, resources={"metadata": {"name": name}})[0]
    math = any("$" in cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    head, end = (STYLE + _katex(), f"<script>{SET_FORMULAS}</script>") if math else (STYLE, "")
    before, after = page.split("</head>", 1)
    body, tail = after.rsplit("</body>", 1)
    return f"{before}{head}</head>{body}{end}</body>{tail}"


@cache
def _katex() -> str:
    def font(match: re.Match) -> str:
        data = base64.b64encode((VENDOR / "fonts" / match[1]).read_bytes()).decode()
        return f"src:url(data:font/woff2;base64,{data}) format('woff2')"

    css = re.sub(r"src:url\(fonts/([\w-]+\.woff2)\)[^;}]*", font, (VENDOR / "katex.min.css").read_text(encoding="utf-8"))
    script = (VENDOR / "katex.min.js").read_text(encoding="utf-8").replace("</script", "<\\/script")
    return f"<style>{css}</style><script>{script}</script>"
