"""Figures of how training scales: speed against batch size and devices, and memory against rows."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from lab_kit.look import blank, colours
from lab_kit.scale import Speed

MILLION = 1e6


def speed_by_batch(found: Mapping[str, Sequence[Speed]], dark: bool = False) -> go.Figure:
    """Rows a second against the batch size, a line for each name; bars from the slowest to the fastest tenth.

    Args:
      found: for each name the speeds of several batch sizes.
      dark: for a dark page.
    """
    figure = blank("Training speed", dark, 400, "Rows a batch", "Million rows a second")
    for (name, speeds), colour in zip(found.items(), colours(dark), strict=False):
        middle = [speed.rows_per_second / MILLION for speed in speeds]
        figure.add_scatter(
            x=[speed.config.batch_size for speed in speeds], y=middle, name=name, mode="lines+markers",
            line={"color": colour},
            error_y={
                "type": "data", "thickness": 1,
                "array": [speed.high / MILLION - value for speed, value in zip(speeds, middle, strict=True)],
                "arrayminus": [value - speed.low / MILLION for speed, value in zip(speeds, middle, strict=True)],
            },
            hovertemplate="batch %{x:,}: %{y:.2f} million rows/s<extra>" + name + "</extra>",
        )  # fmt: skip
    sizes = sorted({speed.config.batch_size for speeds in found.values() for speed in speeds})
    figure.update_xaxes(type="log", tickvals=sizes, ticktext=[f"{size:,}" for size in sizes])
    return figure.update_yaxes(rangemode="tozero")


def gain_by_devices(found: Mapping[int, Sequence[Speed]], dark: bool = False) -> go.Figure:
    """How many times as fast as one device, against the number of devices: a line a batch size, and the ideal.

    Args:
      found: for each batch size the speeds on 1, 2, ... devices.
      dark: for a dark page.
    """
    figure = blank("Gain from more devices", dark, 400, "Devices", "Times the speed of one")
    counts = sorted({speed.config.devices for speeds in found.values() for speed in speeds})
    grey = colours(dark)[-1]
    figure.add_scatter(x=counts, y=counts, name="ideal", mode="lines", line={"color": grey, "dash": "dash"})
    for (batch, speeds), colour in zip(found.items(), colours(dark), strict=False):
        one = next(speed.rows_per_second for speed in speeds if speed.config.devices == 1)
        figure.add_scatter(
            x=[speed.config.devices for speed in speeds], y=[speed.rows_per_second / one for speed in speeds],
            name=f"batch {batch:,}", mode="lines+markers", line={"color": colour},
            hovertemplate="%{x} device(s): %{y:.2f} times<extra>batch " + f"{batch:,}" + "</extra>",
        )  # fmt: skip
    figure.update_xaxes(tickvals=counts)
    return figure.update_yaxes(rangemode="tozero")


def memory_by_rows(found: Mapping[str, Mapping[int, int]], dark: bool = False) -> go.Figure:
    """Peak memory of a training process against the number of rows, a line for each way.

    Args:
      found: for each name the bytes by number of rows.
      dark: for a dark page.
    """
    figure = blank("Memory", dark, 380, "Million rows", "Peak memory in GiB")
    for (name, peaks), colour in zip(found.items(), colours(dark), strict=False):
        figure.add_scatter(
            x=[rows / MILLION for rows in peaks], y=[peak / 2**30 for peak in peaks.values()], name=name,
            mode="lines+markers", line={"color": colour},
            hovertemplate="%{x} million rows: %{y:.2f} GiB<extra>" + name + "</extra>",
        )  # fmt: skip
    return figure.update_yaxes(rangemode="tozero")
