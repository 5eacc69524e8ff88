"""The report: notebooks executed, one file, no network, and one clear sentence when something fails."""

import json
import re
import sys
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser, Page, expect

from lab_kit import datasets, page, report
from lab_kit.schema import LabError

CHART = """
import plotly.graph_objects as go
steps = [dict(label=str(k), method="animate", args=[[str(k)], dict(mode="immediate", frame=dict(duration=0))])
         for k in (1, 2, 3)]
go.Figure(
    data=[go.Scatter(x=[0, 1, 2], y=[0, 1, 0], name="loss")],
    layout=dict(title="Loss of <b>one</b> run", sliders=[dict(steps=steps, currentvalue=dict(prefix="rate: "))],
                height=320),
    frames=[go.Frame(name=str(k), data=[go.Scatter(y=[0, k, 0])]) for k in (1, 2, 3)],
)
"""

# What the chart shows: the heights of its line in units of its axis, read from the path that is on the screen.
DRAWN = """(() => {
  const chart = document.querySelector('figure.chart .js-plotly-plot');
  const path = chart.querySelector('.scatterlayer path.js-line').getAttribute('d');
  const heights = path.match(/[-\\d.]+,[-\\d.]+/g).map((point) => Number(point.split(',')[1]));
  return heights.map((height) => Math.round(chart._fullLayout.yaxis.p2c(height) * 10) / 10);
})()"""


INK = "document.querySelector('figure.chart .js-plotly-plot')._fullLayout.font.color"


def drawn(view: Page) -> list[float]:
    values: list[float] = view.evaluate(DRAWN)
    return values


def parameters_cell(source: str = 'dataset = "health"\nseed = 0') -> nbformat.NotebookNode:
    return new_code_cell(source, metadata={"tags": ["parameters"]})


def save(folder: Path, name: str, *cells: nbformat.NotebookNode) -> Path:
    path = folder / name
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def rendered(*cells: nbformat.NotebookNode, folder: Path = Path()) -> str:
    """The page of one chapter, without plotly.js and its own script."""
    chapter = page.Chapter("01_a", folder, new_notebook(cells=list(cells)))
    text = page.render("Title", [chapter], {"Dataset": "x"}, {"jax": "1"}, "make report")
    return text[: text.index("<footer>")]


def cell(*outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return new_code_cell("1 + 1", outputs=list(outputs))


def shown(data: dict[str, object]) -> nbformat.NotebookNode:
    return new_output("display_data", data=data)


# --- the page


def test_formulas_become_mathml_in_every_form() -> None:
    text = rendered(
        new_markdown_cell("A $x^2$ in a line.\n\n$$\\frac{1}{n}\\sum_i x_i$$\n\n\\begin{align}a&=b\\end{align}")
    )
    main = text[text.index("<main") :]
    assert main.count("<math ") == 3
    assert main.count('display="block"') == 2
    assert "$" not in main


def test_names_of_functions_are_upright_and_lose_their_backslash() -> None:
    text = page.formula("\\arg\\min_x y\\log p", "block")
    assert [name for name in ("arg", "min", "log") if f">{name}</mo>" not in text] == []
    assert "\\" not in text.partition(">")[2]


def test_a_formula_that_cannot_be_converted_is_shown_as_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(latex: str, display: str) -> str:
        raise IndexError(latex)

    monkeypatch.setattr(page, "mathml", broken)
    assert page.formula("a < b", "inline") == '<code class="formula">a &lt; b</code>'


def test_a_chart_keeps_data_layout_and_frames_and_cannot_end_its_script() -> None:
    figure = go.Figure(go.Bar(x=["</script><b>"], y=[1]), {"title": "Rows <i>by</i> day"})
    text = page.chart(figure.to_plotly_json() | {"frames": [{"name": "1"}], "config": {"a": 1}}, "c1")
    assert 'aria-label="Chart: Rows by day"' in text
    assert text.count("</script>") == 1
    assert '"frames":[{"name":"1"}]' in text
    assert '"config"' not in text


def test_headings_give_the_contents_one_level_down() -> None:
    text = rendered(new_markdown_cell("# Load the data\n\n## What is *in* it\n\n### Detail"))
    assert '<h2 id="01_a-load-the-data">Load the data</h2>' in text
    assert '<h3 id="01_a-what-is-in-it">What is <em>in</em> it</h3>' in text
    contents = text[text.index("<nav") : text.index("</nav>")]
    assert '<a href="#01_a">Load the data</a>' in contents
    assert '<a href="#01_a-what-is-in-it">What is in it</a>' in contents
    assert "Detail" not in contents


def test_markdown_that_a_cell_shows_is_treated_like_the_notebooks_own() -> None:
    text = rendered(new_markdown_cell("# A"), cell(shown({"text/markdown": "## Found\n\n$x^2$"})))
    assert '<h3 id="01_a-found">Found</h3>' in text
    assert '<a href="#01_a-found">Found</a>' in text
    assert "<msup>" in text


def test_repeated_headings_have_anchors_of_their_own() -> None:
    text = rendered(new_markdown_cell("# A\n\n## Summary"), new_markdown_cell("## Summary"))
    assert text.count('id="01_a-summary"') == 1
    assert text.count('id="01_a-summary-2"') == 1


def test_a_notebook_without_a_title_is_called_by_its_name() -> None:
    assert '<h2 id="01_a-title">01_a</h2>' in rendered(new_markdown_cell("Only text."))


def test_links_between_notebooks_stay_inside_the_page() -> None:
    text = rendered(new_markdown_cell("[one](01_a.ipynb) [gone](99_z.ipynb) [site](https://example.org)"))
    assert '<a href="#01_a">one</a> gone <a href="https://example.org">site</a>' in text


def test_a_remote_image_is_a_link_and_a_local_one_is_inside(tmp_path: Path) -> None:
    (tmp_path / "dot.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    text = rendered(new_markdown_cell("![far](https://example.org/a.png) ![near](dot.svg)"), folder=tmp_path)
    assert '<a href="https://example.org/a.png">far</a>' in text
    assert '<img src="data:image/svg+xml;base64,' in text
    assert 'alt="near"' in text


def test_code_is_folded_away_and_a_live_panel_is_a_note() -> None:
    text = rendered(cell(shown({page.WIDGET: {"model_id": "x"}, "text/plain": "VBox(children=...)"})))
    assert '<details class="code"><summary>Code</summary>' in text
    assert "live in JupyterLab" in text
    assert "VBox" not in text


def test_text_is_escaped_coloured_and_overwritten_as_in_a_terminal() -> None:
    stream = new_output("stream", name="stdout", text="10%\r100%\n\x1b[31m<red>\x1b[0m\n")
    text = rendered(cell(stream))
    assert '<pre class="stdout">100%\n<span class="ansi-red-fg">&lt;red&gt;</span></pre>' in text


def test_pieces_of_one_stream_are_put_together() -> None:
    pieces = [new_output("stream", name="stdout", text=text) for text in ("a", "b\n")]
    assert '<pre class="stdout">ab</pre>' in rendered(cell(*pieces))


def test_plotly_is_in_the_page_once_however_many_charts() -> None:
    figure = shown({page.PLOTLY: go.Figure(go.Bar(y=[1])).to_plotly_json()})
    notebook = new_notebook(cells=[cell(figure, figure), cell(figure)])
    text = page.render("T", [page.Chapter("a", Path(), notebook)], {}, {}, "")
    assert text.count('<figure class="chart"') == 3
    assert text.count("plotly.js v") == 1
    assert len(set(re.findall(r'<div id="(chart-[^"]+)"', text))) == 3


def test_the_headline_stands_at_the_top_and_where_it_was_found() -> None:
    told = cell(shown({"text/markdown": "Late?\n\n**AUC 0.7**", "text/plain": "<Markdown>"}))
    told.metadata["tags"] = ["headline"]
    text = rendered(new_markdown_cell("# A"), told)
    header = text[text.index("<header") : text.index("</header>")]
    assert "<p>Late?</p>\n<p><strong>AUC 0.7</strong></p>" in header
    assert text.count("AUC 0.7") == 2
    assert 'class="headline"' not in rendered(new_markdown_cell("# A"), cell(shown({"text/plain": "1"})))


# --- errors in outputs


def test_errors_are_found_in_cells_widgets_and_on_standard_error() -> None:
    notebook = new_notebook(
        cells=[
            cell(new_output("error", ename="ValueError", evalue="one", traceback=[])),
            cell(
                new_output(
                    "stream", name="stderr", text="Traceback (most recent call last):\n\x1b[31mKeyError: 2\x1b[0m\n"
                )
            ),
            cell(new_output("stream", name="stderr", text="a warning\n")),
        ]
    )
    state = {"m": {"state": {"outputs": [{"output_type": "error", "ename": "TypeError", "evalue": "three"}]}}}
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": state}}
    assert report.notebook_errors(notebook) == ["ValueError: one", "KeyError: 2", "TypeError: three"]


def test_an_error_that_is_expected_is_not_one() -> None:
    expected = cell(new_output("error", ename="ValueError", evalue="one", traceback=[]))
    expected.metadata["tags"] = ["raises-exception"]
    assert report.notebook_errors(new_notebook(cells=[expected])) == []


# --- the whole


def test_parameters_are_read_with_their_defaults() -> None:
    notebook = new_notebook(cells=[parameters_cell('dataset: str = "a=b"  # the name\nseed = 0\nwidths = (1, 2)')])
    assert report.known_parameters(notebook) == {"dataset": "'a=b'", "seed": "0", "widths": "(1, 2)"}


@pytest.mark.parametrize(
    ("dataset", "kept"),
    [
        ("flights", "none binary time both"),
        ("health", "none binary random"),
        ("digits", "none multiclass random"),
        ("diabetes", "none regression random"),
    ],
)
def test_a_reader_sees_the_cells_that_suit_the_dataset(dataset: str, kept: str) -> None:
    cells = [new_markdown_cell(name, metadata={"tags": [f"only-{name}"]}) for name in
             ("binary", "multiclass", "regression", "time", "random")]  # fmt: skip
    both = new_markdown_cell("both", metadata={"tags": ["only-time", "only-binary"]})
    how = new_markdown_cell("how to run cells", metadata={"tags": ["notebook-only"]})
    whole = new_notebook(cells=[new_markdown_cell("none"), how, *cells, both])
    shown = report.for_readers(whole, datasets.card(dataset))
    assert " ".join(each.source for each in shown.cells) == kept
    assert len(whole.cells) == 8


@pytest.mark.slow
@pytest.mark.notebooks
def test_a_report_carries_results_parameters_versions_and_seed(tmp_path: Path) -> None:
    first = save(
        tmp_path,
        "01_a.ipynb",
        new_markdown_cell("# First"),
        parameters_cell(),
        new_code_cell("print(dataset, seed + 1)"),
    )
    second = save(
        tmp_path, "02_b.ipynb", new_markdown_cell("# Second"), new_code_cell("import sys; print(sys.executable)")
    )
    said: list[tuple[str, float]] = []
    out = report.build_report(
        "digits", tmp_path / "out", [first, second], {"seed": 41}, lambda *step: said.append(step)
    )
    text = out.read_text()
    assert out == tmp_path / "out" / "digits-report.html"
    assert [p.name for p in out.parent.iterdir()] == ["digits-report.html"]
    assert '<pre class="stdout">digits 42</pre>' in text
    assert f'<pre class="stdout">{Path(sys.executable)}</pre>' in text
    assert "<dt>Seed</dt><dd>41</dd>" in text
    assert "Parameters</summary>" in text
    assert "health" not in text[text.index("<main") : text.index("<footer>")], "the default that was replaced"
    assert "<dt>polars</dt>" in text
    assert text.index("First") < text.index("Second")
    assert [fraction for _, fraction in said] == sorted(fraction for _, fraction in said)
    assert said[0] == ("01_a: cell 1 of 3", 0.0) or said[0][0].startswith("01_a: cell 2")
    assert said[-1][1] == 1.0
    assert nbformat.read(first, as_version=4).cells[2].outputs == []


@pytest.mark.slow
@pytest.mark.notebooks
def test_a_failing_cell_is_one_sentence_and_the_notebook_is_kept(tmp_path: Path) -> None:
    path = save(
        tmp_path, "04_train.ipynb", parameters_cell(), new_code_cell("print('before')"), new_code_cell("{}['rate']")
    )
    with pytest.raises(
        LabError, match=r"04_train\.ipynb failed in code cell 3: KeyError: 'rate'\. Look at .*failed"
    ) as error:
        report.build_report("health", tmp_path / "out", [path])
    assert "\n" not in str(error.value)
    kept = nbformat.read(tmp_path / "out" / "failed" / "04_train.ipynb", as_version=4)
    assert any(
        "before" in output.text for c in kept.cells if c.cell_type == "code" for output in c.outputs if "text" in output
    )
    assert list((tmp_path / "out").glob("*.html")) == []


@pytest.mark.slow
@pytest.mark.notebooks
def test_a_kernel_that_dies_is_one_sentence(tmp_path: Path) -> None:
    path = save(tmp_path, "01_a.ipynb", parameters_cell(), new_code_cell("import os; os._exit(1)"))
    with pytest.raises(LabError, match=r"01_a\.ipynb failed .*kernel stopped"):
        report.build_report("health", tmp_path / "out", [path])


def test_a_missing_notebook_a_broken_one_and_an_unknown_parameter_are_sentences(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{")
    good = save(tmp_path, "good.ipynb", parameters_cell())
    with pytest.raises(LabError, match=r"There is no notebook .*nowhere\.ipynb"):
        report.build_report("health", tmp_path / "out", [tmp_path / "nowhere.ipynb"])
    with pytest.raises(LabError, match=r"broken\.ipynb is not a notebook"):
        report.build_report("health", tmp_path / "out", [broken])
    with pytest.raises(LabError, match="No notebook has the parameter sed; they have dataset, seed"):
        report.build_report("health", tmp_path / "out", [good], {"sed": 1})
    with pytest.raises(LabError, match="at least one"):
        report.build_report("health", tmp_path / "out", [])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    good = save(tmp_path, "good.ipynb", parameters_cell())
    with pytest.raises(LabError, match=r"The report cannot be written to .*file"):
        report.build_report("health", tmp_path / "file" / "out", [good])


def test_writing_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.html").write_text("old")

    def full(source: str, target: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(report.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        report.write(tmp_path / "a.html", "new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a.html": "old"}


def moved_by_keyboard(view: Page) -> None:
    """The slider is the browser's own, has a name, says its value, and its keys move the chart."""
    slider = view.get_by_role("slider")
    expect(slider).to_have_count(1)
    expect(slider).to_have_accessible_name("rate")
    expect(view.locator("figure.chart .slider-container")).to_have_count(0)  # Plotly's own has no keyboard
    assert drawn(view) == [0, 1, 0]
    slider.focus()
    for key, label, values in (
        ("ArrowRight", "2", [0, 2, 0]),
        ("End", "3", [0, 3, 0]),
        ("ArrowLeft", "2", [0, 2, 0]),
        ("Home", "1", [0, 1, 0]),
        ("End", "3", [0, 3, 0]),
    ):
        view.keyboard.press(key)
        expect(slider).to_have_attribute("aria-valuetext", label)
        expect(view.locator("label.slider")).to_contain_text(f"rate {label}")
        view.wait_for_function(f"JSON.stringify({DRAWN}) === '{json.dumps(values, separators=(',', ':'))}'")
    # Drawn again for the other colour scheme, the chart stays where its slider is.
    ink, light = view.evaluate(f"[{INK}, matchMedia('(prefers-color-scheme: light)').matches]")
    view.emulate_media(color_scheme="dark" if light else "light")
    view.wait_for_function(f"{INK} !== '{ink}' && JSON.stringify({DRAWN}) === '[0,3,0]'")


@pytest.mark.slow
@pytest.mark.notebooks
@pytest.mark.browser
def test_the_report_works_from_disk_without_a_network(tmp_path: Path, browser: Browser) -> None:
    path = save(
        tmp_path,
        "01_loss.ipynb",
        parameters_cell(),
        new_markdown_cell("# Loss\n\nThe mean is $\\frac{1}{n}\\sum_i x_i$."),
        new_code_cell(CHART),
    )
    out = report.build_report("health", tmp_path / "out", [path])
    requests: list[str] = []
    complaints: list[str] = []
    for scheme in ("light", "dark"):
        view = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 900})  # type: ignore[arg-type]
        view.on("request", lambda request: requests.append(request.url))
        view.on("console", lambda message: complaints.append(message.text))
        view.on("pageerror", lambda error: complaints.append(str(error)))
        view.goto(out.as_uri())
        view.wait_for_selector("body[data-drawn]")
        assert view.locator("figure.chart svg.main-svg").count() > 0
        over, under = (view.locator("math mfrac > *").nth(n).bounding_box() for n in (0, 1))
        assert over["y"] + over["height"] <= under["y"] + 1  # type: ignore[index]

        moved_by_keyboard(view)
        assert view.locator("[data-title*=hare], [data-attr*=Cloud]").count() == 0

        code = view.locator("details.code pre").last
        assert not code.is_visible()
        view.get_by_role("button", name="Show all code").click()
        assert code.is_visible()
        assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")
        pages = view.pdf(format="A4")
        view.close()
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert complaints == []
    assert pages.startswith(b"%PDF")
