"""Executed notebooks as one HTML page that needs no network: charts, formulas, code and outputs are all inside it.

The page carries a content security policy, so a browser refuses every request, whatever an output contains.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from latex2mathml.converter import convert as mathml
from nbconvert.filters import Highlight2HTML, ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs
from pygments.formatters import HtmlFormatter

ASSETS = Path(__file__).parent / "assets"
PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
LIVE_PANEL = '<p class="note">This panel is live in JupyterLab: open the notebook to use it.</p>'
FUNCTION_NAME = re.compile(r"<m[io]>((?:arg|log|ln|exp|max|min|sup|inf|lim|tanh|sin|cos|Pr)+)</m[io]>")
REMOTE = re.compile(r"^(https?:)?//")


@dataclass(frozen=True)
class Chapter:
    """One executed notebook of the report.

    Attributes:
      name: the notebook's file name without ``.ipynb``; links between notebooks use it.
      folder: where the notebook lies; images in its text are read from there.
      notebook: the executed notebook.
    """

    name: str
    folder: Path
    notebook: NotebookNode


@dataclass(frozen=True)
class Heading:
    """A heading of the page: its level (2 is a chapter's title), its place in the page and its text."""

    level: int
    anchor: str
    text: str


def formula(latex: str, display: str) -> str:
    r"""A LaTeX formula as MathML, which a browser draws without help.

    Args:
      latex: the formula without its dollar signs, for example ``\frac{1}{n}\sum_i x_i``.
      display: ``inline`` or ``block``.

    Returns:
      A ``math`` element with the source as its label; a formula that cannot be converted is shown as its source.
    """
    try:
        element = mathml(latex.strip(), display=display)
    except Exception:  # the converter raises many kinds; a reader is better served by the source than by no report
        return f'<code class="formula">{html.escape(latex.strip())}</code>'
    # Names the converter does not know keep their backslash; names of functions stand apart from what follows.
    element = re.sub(r"<mi>\\([a-zA-Z]+)</mi>", r"<mo>\1</mo>", element)
    element = FUNCTION_NAME.sub(r'<mo lspace="0.17em" rspace="0.17em">\1</mo>', element)
    return element.replace("<math ", f'<math aria-label="{html.escape(latex.strip())}" ', 1)


def plain(markup: str) -> str:
    """The text of a piece of HTML, without its tags."""
    return html.unescape(re.sub(r"<[^>]*>", "", markup)).strip()


class ChapterRenderer(IPythonRenderer):
    """Markdown of one chapter: formulas as MathML, headings with anchors, links that stay inside the page."""

    def __init__(self, chapter: Chapter, chapters: Sequence[str]) -> None:
        super().__init__(escape=False, embed_images=True, path=str(chapter.folder))
        self.chapter, self.chapters = chapter.name, chapters
        self.headings: list[Heading] = []

    def heading(self, text: str, level: int, **attrs: object) -> str:
        """A heading, one level down, because the page's own title is the first level."""
        words = re.sub(r"[^\w]+", "-", plain(text).lower()).strip("-")
        stem = f"{self.chapter}-{words}"
        # A text that comes again is numbered, so that each heading has an anchor of its own.
        earlier = sum(re.fullmatch(rf"{re.escape(stem)}(-\d+)?", h.anchor) is not None for h in self.headings)
        anchor = f"{stem}-{earlier + 1}" if earlier else stem
        heading = Heading(min(level + 1, 6), anchor, plain(text))
        self.headings.append(heading)
        return f'<h{heading.level} id="{heading.anchor}">{text}</h{heading.level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link; one to another notebook of the report leads to its chapter, other local ones lose their target."""
        target = Path(url.partition("#")[0])
        if REMOTE.match(url) or url.startswith("mailto:"):
            return f'<a href="{html.escape(url)}">{text}</a>'
        if target.suffix == ".ipynb" and target.stem in self.chapters:
            return f'<a href="#{target.stem}">{text}</a>'
        return text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """An image, embedded; one that lies on the network becomes a link to it."""
        if REMOTE.match(url):
            return f'<a href="{html.escape(url)}">{text or html.escape(url)}</a>'
        return str(super().image(text, url, title))

    def inline_math(self, body: str) -> str:
        """A formula within a sentence."""
        return formula(body, "inline")

    def block_math(self, body: str) -> str:
        """A formula on a line of its own."""
        return formula(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        """A LaTeX environment such as ``align``."""
        return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


def chart(figure: Mapping[str, Any], anchor: str) -> str:
    """A Plotly figure as an element that the page's script draws.

    Args:
      figure: the content of a Plotly mime bundle: ``data``, ``layout``, and perhaps ``frames`` and ``config``.
      anchor: the id of the element.
    """
    title = (figure.get("layout") or {}).get("title") or {}
    label = plain(str(title.get("text") or "") if isinstance(title, Mapping) else str(title))
    parts = {name: figure[name] for name in ("data", "layout", "frames") if figure.get(name)}
    # "<" is escaped, so that no text in the data can end the script element.
    spec = json.dumps(parts, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<figure class="chart" aria-label="{html.escape("Chart: " + label if label else "Chart")}">'
        f'<div id="{anchor}"></div><script type="application/json">{spec}</script></figure>\n'
    )


def output(cell_output: NotebookNode, anchor: str, renderer: ChapterRenderer) -> str:
    """One output of a code cell: the richest of its forms that works without a kernel and without a network."""
    kind = cell_output.output_type
    if kind == "stream":
        return f'<pre class="{cell_output.name}">{ansi2html(overwritten(cell_output.text))}</pre>\n'
    if kind == "error":
        return f'<pre class="stderr">{ansi2html(chr(10).join(cell_output.traceback))}</pre>\n'
    data = cell_output.data
    if PLOTLY in data:
        return chart(data[PLOTLY], anchor)
    if WIDGET in data:
        return LIVE_PANEL
    if "text/html" in data:
        return f'<div class="rich">{data["text/html"]}</div>\n'
    if "image/svg+xml" in data:
        return f'<div class="rich">{data["image/svg+xml"]}</div>\n'
    for mime in ("image/png", "image/jpeg"):
        if mime in data:
            alt = html.escape(data.get("text/plain", "an image"))
            return f'<img alt="{alt}" src="data:{mime};base64,{data[mime].strip()}">\n'
    if "text/latex" in data:
        return formula(data["text/latex"].strip().strip("$"), "block")
    if "text/markdown" in data:
        return str(MarkdownWithMath(renderer=renderer).render(data["text/markdown"]))
    return f"<pre>{ansi2html(data['text/plain'])}</pre>\n" if "text/plain" in data else ""


def overwritten(text: str) -> str:
    """What a terminal would show: a carriage return starts its line again, as progress bars do."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")).rstrip("\n")


def code(cell: NotebookNode) -> str:
    """A cell's code, highlighted and folded away."""
    shown = Highlight2HTML()(cell.source, language="ipython3")
    summary = "Parameters" if "injected-parameters" in tags(cell) else "Code"
    return f'<details class="code"><summary>{summary}</summary>{shown}</details>\n'


def body(chapter: Chapter, chapters: Sequence[str]) -> tuple[str, list[Heading]]:
    """The HTML of a chapter and its headings. A notebook without a title gets its file's name as one."""
    parts: list[str] = []
    renderer = ChapterRenderer(chapter, chapters)
    # The defaults are left out where the report's own parameters follow them.
    tagged = [tags(cell) for cell in chapter.notebook.cells]
    injected = any("injected-parameters" in each for each in tagged)
    overridden = next((n for n, each in enumerate(tagged) if injected and "parameters" in each), None)
    for number, cell in enumerate(chapter.notebook.cells):
        if cell.cell_type == "markdown":
            renderer.attachments = cell.get("attachments", {})
            parts.append(MarkdownWithMath(renderer=renderer).render(cell.source))
        elif cell.cell_type == "code" and cell.source.strip() and number != overridden:
            parts.append(code(cell))
            outputs = enumerate(merged(cell.outputs))
            parts += [output(each, f"chart-{chapter.name}-{number}-{place}", renderer) for place, each in outputs]
    headings = renderer.headings
    if not any(heading.level == 2 for heading in headings):
        title = Heading(2, f"{chapter.name}-title", chapter.name)
        parts.insert(0, f'<h2 id="{title.anchor}">{html.escape(title.text)}</h2>\n')
        headings.insert(0, title)
    return "".join(parts), headings


def headline(chapters: Sequence[Chapter]) -> str:
    """What the code cells tagged ``headline`` show, as HTML for the top of the page; empty when there is none."""
    cells = [(chapter, cell) for chapter in chapters for cell in chapter.notebook.cells if "headline" in tags(cell)]
    parts = [
        output(each, f"headline-{number}-{place}", ChapterRenderer(chapter, [c.name for c in chapters]))
        for number, (chapter, cell) in enumerate(cells)
        for place, each in enumerate(merged(cell.outputs))
    ]
    return f'<div class="headline">{"".join(parts)}</div>' if parts else ""


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def merged(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """The outputs with neighbouring pieces of the same stream put together, as JupyterLab shows them."""
    result: list[NotebookNode] = []
    for each in outputs:
        last = result[-1] if result else None
        if each.output_type == "stream" and last is not None and last.get("name") == each.name:
            result[-1] = NotebookNode({**last, "text": last.text + each.text})
        else:
            result.append(each)
    return result


def contents(chapters: Sequence[tuple[str, Sequence[Heading]]]) -> str:
    """The table of contents: the chapters and the sections in them."""
    lines = []
    for name, headings in chapters:
        title = next(heading for heading in headings if heading.level == 2)
        sections = "".join(
            f'<li><a href="#{heading.anchor}">{html.escape(heading.text)}</a></li>'
            for heading in headings
            if heading.level == 3
        )
        nested = f"<ol>{sections}</ol>" if sections else ""
        lines.append(f'<li><a href="#{name}">{html.escape(title.text)}</a>{nested}</li>')
    return "<ol>" + "\n".join(lines) + "</ol>"


def facts_table(facts: Mapping[str, str]) -> str:
    """Names and values as a description list."""
    pairs = (f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in facts.items())
    return "<dl>" + "".join(pairs) + "</dl>"


def render(
    title: str,
    chapters: Sequence[Chapter],
    facts: Mapping[str, str],
    versions: Mapping[str, str],
    reproduce: str,
) -> str:
    """The whole page.

    Args:
      title: the first heading and the title of the browser's tab.
      chapters: the executed notebooks in their order; what a cell tagged ``headline`` shows stands at the top too.
      facts: what made the report (dataset, date, parameters, seed, commit), shown under the title.
      versions: name and version of each library, shown under the title.
      reproduce: the commands that make the same report again, shown at the end.

    Returns:
      A complete HTML document, about 5 MB, nearly all of it plotly.js.
    """
    names = [chapter.name for chapter in chapters]
    bodies = [(name, *body(chapter, names)) for name, chapter in zip(names, chapters, strict=True)]
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("friendly", "native"))
    return Template((ASSETS / "report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        css=(ASSETS / "report.css").read_text(encoding="utf-8"),
        code_css=f"@media not print {{ {light} }} @media screen and (prefers-color-scheme: dark) {{ {dark} }}",
        headline=headline(chapters),
        facts=facts_table(facts),
        versions=facts_table(versions),
        contents=contents([(name, headings) for name, _, headings in bodies]),
        chapters="".join(f'<section id="{name}">\n{text}</section>\n' for name, text, _ in bodies),
        reproduce=html.escape(reproduce),
        # Only the text "</script" could end the element; plotly.js has it in no form that matters.
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
        script=(ASSETS / "report.js").read_text(encoding="utf-8"),
    )
