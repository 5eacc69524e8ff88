"""Figures of a search, from Optuna's numbers in the look of the lab: importances and parallel coordinates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from lab_kit.look import blank, colours, template
from lab_kit.schema import LabError
from lab_kit.search import Trial
from lab_kit.track import title


def importance(shares: Mapping[str, float], dark: bool = False) -> go.Figure:
    """How much of the variation of the validation loss each choice explains.

    Args:
      shares: as of ``search.importances``, the greatest first.
      dark: for a dark page.
    """
    names = [title(name) for name in shares]
    figure = blank("What mattered", dark, 130 + 32 * len(names), x="share of the variation of the validation loss")
    figure.add_bar(
        x=list(shares.values()), y=names, orientation="h", marker_color=colours(dark)[0], showlegend=False,
        text=[f"{100 * share:.0f} %" if share >= 0.005 else "< 1 %" for share in shares.values()],
        textposition="outside", cliponaxis=False, hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(tickformat=".0%", range=[0, max([*shares.values(), 0.01]) * 1.12])
    return figure.update_yaxes(autorange="reversed", showgrid=False, showline=False, ticks="")


def parallel(trials: Sequence[Trial], dark: bool = False, log: Sequence[str] = ("learning_rate",)) -> go.Figure:
    """Each trial that ran to its end as a line through its choices to its validation loss; the better, the stronger.

    Drag along an axis to keep only the lines that pass there.

    Args:
      trials: of a search.
      dark: for a dark page.
      log: choices whose axis is logarithmic.

    Raises:
      LabError: no trial ran to its end.
    """
    finished = [trial for trial in trials if trial.outcome == "finished"]
    if not finished:
        raise LabError("No trial of this search ran to its end, so there are no lines to draw.")
    losses = np.array([trial.loss for trial in finished])
    dimensions = [
        _dimension(name, [trial.values[name] for trial in finished], name in log) for name in finished[0].values
    ]
    dimensions.append({"label": "validation loss", "values": losses, "tickformat": ".4~g"})
    strong, pale = (colours(dark)[0], "#4A4A4A") if dark else (colours(dark)[0], "#D5D5D5")
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions, labelangle=-25, labelside="top", unselected={"line": {"opacity": 0.08}},
            line={"color": losses, "colorscale": [(0.0, strong), (1.0, pale)], "showscale": False},
            rangefont={"color": "rgba(0,0,0,0)"}, labelfont={"size": 12}, tickfont={"size": 11},
        )
    )  # fmt: skip
    short = len(trials) - len(finished)
    words = f"{len(finished)} trials" + (f", and {short} cut short that are not drawn" if short else "")
    return figure.update_layout(
        template=template(dark),
        height=400,
        margin={"l": 60, "r": 72, "t": 118, "b": 28},
        title={"text": words, "y": 0.96},
    )


def _dimension(name: str, values: list[Any], log: bool) -> dict[str, Any]:
    """An axis of ``parallel``: numbers as they are or as their logarithms, and few or unordered choices by name."""
    kinds = sorted(set(values)) if all(isinstance(value, str) for value in values) else list(dict.fromkeys(values))
    numbers = not any(isinstance(value, str) for value in values)
    if numbers and log and min(values) > 0:
        places = np.log10(values)
        ticks = np.linspace(places.min(), places.max(), 4)
        words = [f"{10**tick:.1g}" if len(kinds) > 1 else f"{values[0]:g}" for tick in ticks]
        return {"label": title(name), "values": places, "tickvals": ticks, "ticktext": words}
    if numbers and not all(isinstance(value, int) for value in values):
        return {"label": title(name), "values": values, "tickformat": ".2~g"}
    order = sorted(kinds) if numbers else kinds
    places = np.array([order.index(value) for value in values])
    ends = [-0.2, max(len(order) - 0.8, 0.2)]
    return {"label": title(name), "values": places, "range": ends, "tickvals": [*range(len(order))],
            "ticktext": [f"{value}" for value in order]}  # fmt: skip
