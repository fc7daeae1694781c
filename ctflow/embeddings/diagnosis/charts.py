"""Figures of a report's page: size, distances, both clouds, partners, spectra, recall."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ctflow._base.colors import GREEN, GREY, RED, SIZE_BANDS
from ctflow.embeddings.diagnosis.metric import SIZES
from ctflow.embeddings.diagnosis.plot import FLOOR, LABELS, RANGES, edges_of
from ctflow.embeddings.diagnosis.view import Partners, View
from ctflow.embeddings.names import short
from ctflow.pages import figures as fg
from ctflow.pages.parts import Figure, Toggle

if TYPE_CHECKING:
    from ctflow.embeddings.diagnosis.report import Report

_BINS = 48


def size(report: "Report") -> Figure:
    """The energy coefficient with its interval, over one band per word for its size."""
    share = report["energy_coefficient"]
    ends = [FLOOR, *list(SIZES.values())[1:], 1.0]
    value, low, high = np.clip(np.nan_to_num([share.value, share.low, share.high]), FLOOR, 1).tolist()
    color = RED if report.detected else GREY
    bands, words = [], []
    for word, start, end, shade in zip(SIZES, ends[:-1], ends[1:], SIZE_BANDS, strict=True):
        place = {"type": "rect", "x0": start, "x1": end, "y0": 0, "y1": 1, "yref": "paper"}
        bands.append({**place, "fillcolor": shade, "line": {"width": 0}, "layer": "below"})
        middle = (np.log10(start) + np.log10(end)) / 2
        words.append(
            {"x": middle, "y": 0.97, "yref": "paper", "yanchor": "top", "text": word, "showarrow": False}
        )
    dot = fg.marks("these rows, with 95 % interval", [value], [" "], color, "circle")
    dot["hovertemplate"] = f"energy coefficient {share.value:.4g}<extra></extra>"
    if np.isfinite(share.low):
        reach = {"array": [high - value], "arrayminus": [value - low], "thickness": 5, "width": 0}
        dot["error_x"] = {"type": "data", "symmetric": False, "color": color, **reach}
    data = [dot]
    if np.isfinite(share.null_mean):
        chance = float(np.clip(share.null_mean + 2 * share.null_sd, FLOOR, 1))
        data.append(fg.marks("without a gap, mean + 2 sd", [chance], [" "], "#000000", "line-ns-open"))
        data[-1]["marker"]["size"] = 30
    axis = {
        "type": "log",
        "range": [float(np.log10(FLOOR)), 0.0],
        "tickvals": [1e-4, 1e-3, 1e-2, 1e-1, 1],
        "ticktext": ["0.0001", "0.001", "0.01", "0.1", "1"],
    }
    frame = fg.layout(
        "energy coefficient",
        xaxis=axis,
        yaxis={"showticklabels": False, "ticks": "", "showgrid": False},
        shapes=bands,
        annotations=words,
        margin={"l": 24, "r": 24, "t": 60, "b": 46},
    )
    caption = (
        "0: the two laws are equal. 1: each modality is a single point. The scale is logarithmic; values "
        f"below {FLOOR:g} are drawn at its left end."
    )
    return Figure("size", data, frame, f"The energy coefficient is {share.value:.3g}.", caption, height=240)


def distances(report: "Report") -> Figure:
    """Each distance as a share of its range, beside its mean without a gap."""
    shown = [m for m in report.metrics if m.name in RANGES and np.isfinite(m.value)][::-1]
    labels = [LABELS[m.name].partition(" (")[0] for m in shown]
    scaled = []
    for m in shown:
        least, most = RANGES[m.name]
        scaled.append([(v - least) / (most - least) for v in (m.value, m.null_mean)])
    places = np.array(scaled).reshape(-1, 2).T
    color = [RED if m.gap else GREY for m in shown]
    found = fg.marks("these rows", places[0], labels, RED if report.detected else GREY, "circle")
    found["marker"] |= {"color": color, "line": {"color": color, "width": 2}}
    found["customdata"] = [[fg.plain([m.value])[0], f"{m.p_value:.3f}"] for m in shown]
    found["hovertemplate"] = "%{y}: %{customdata[0]}, p = %{customdata[1]}<extra></extra>"
    null = fg.marks("without a gap", places[1], labels, "#000000", "line-ns-open")
    null["marker"]["size"] = 16
    null["customdata"] = [[fg.plain([m.null_mean])[0]] for m in shown]
    null["hovertemplate"] = "%{y}: %{customdata[0]} without a gap<extra></extra>"
    frame = fg.layout("share of its range", xaxis={"range": [-0.04, 1.04]})
    what = f"{sum(bool(m.gap) for m in shown)} of {len(shown)} distances are beyond their null."
    caption = (
        "Each distance as a share of its range (0: equal clouds, 1: as far apart as can be), beside its mean "
        "when the labels of the two modalities are exchanged at random."
    )
    return Figure("distances", [found, null], frame, what, caption, height=300)


def clouds(report: "Report", view: View) -> Figure:
    """Histograms along the gap axis; the gap as an arrow above the typical distance."""
    edges = edges_of(view.along)
    data, highest = [], 0.0
    for k, (name, along, weight) in enumerate(zip(report.names, view.along, view.weight, strict=True)):
        share = np.histogram(along, edges, weights=weight)[0]
        highest = max(highest, float(share.max()))
        data.append(fg.histogram(short(name), edges, share, (fg.FIRST, fg.SECOND)[k], k))
    gap, typical, centre = report["centroid_gap"].value, view.typical_distance, sum(view.means) / 2
    ends = [centre - gap / 2, centre + gap / 2]
    arrows = fg.length(ends[0], ends[1], 1.12 * highest, f"means {gap:.2g} apart", "#000000")
    if np.isfinite(typical):
        low, high = centre - typical / 2, centre + typical / 2
        ends += [low, high]
        arrows += fg.length(low, high, 1.36 * highest, f"two rows of one modality: {typical:.2g}", GREY)
    reach = [min(*ends, edges[0]), max(*ends, edges[-1])]
    room = 0.03 * (reach[1] - reach[0])
    frame = fg.layout(
        "position along the gap axis",
        "share of rows",
        xaxis={"range": [reach[0] - room, reach[1] + room]},
        yaxis={"range": [0, 1.62 * highest], "tickformat": ".0%", "nticks": 5},
        annotations=arrows,
    )
    without = report["centroid_gap"].null_mean
    caption = (
        "The gap axis is the line through both means, taken from one half of the rows to place the "
        "other half: "
        "on a line fitted to them, rows would lie apart by chance alone. "
        + (f"Without a gap the means would still be {without:.2g} apart. " if np.isfinite(without) else "")
        + "Compare the black arrow with the grey one, the mean distance of two rows of one modality."
    )
    return Figure("along", data, frame, f"The means are {gap:.3g} apart.", caption, height=340)


def plane(report: "Report", view: View) -> Figure:
    """Both clouds in their principal plane, partners joined on demand."""
    data, partners = [], view.partners
    for k, name in enumerate(report.names):
        rows, chosen = view.rows[k], view.drawn[k]
        custom: list[list[Any]] = [[int(r)] for r in rows[chosen]]
        hover = "row %{customdata[0]}"
        if partners is not None:
            custom = _with_partners(view, partners, k)
            hover += "<br>partner: row %{customdata[1]}<br>cosine %{customdata[2]}<br>rank %{customdata[3]}"
        data.append(fg.points(short(name), view.plane[k][chosen], custom, hover, (fg.FIRST, fg.SECOND)[k], k))
    toggles: tuple[Toggle, ...] = ()
    if partners is not None:
        drawn = [np.isin(partners.positions[:, k], view.drawn[k]) for k in (0, 1)]
        i, j = partners.positions[drawn[0] & drawn[1]].T
        data.append(fg.joined("partners", view.plane[0][i], view.plane[1][j]))
        toggles = (Toggle("Join partners", (2,)),)
    first, second = (f"{share:.0%} of the variance" for share in view.explained)
    counts = [len(chosen) for chosen in view.drawn]
    a, b = report.names
    caption = (
        f"{counts[0]} rows of {a} and {counts[1]} of {b} in the plane in which both clouds together "
        "spread most. "
        "Point at a row for its number"
        + (
            ", its partner, their cosine, and the partner's rank among the sampled rows of the "
            "other modality."
            if partners is not None
            else "."
        )
    )
    frame = fg.layout(
        f"direction 1: {first}",
        f"direction 2: {second}",
        yaxis={"scaleanchor": "x"},
    )
    return Figure("plane", data, frame, "Both clouds in their principal plane.", caption, 440, toggles)


def _with_partners(view: View, partners: Partners, side: int) -> list[list[Any]]:
    """Row number, and of one partner the row number, the cosine and the rank, for each drawn row."""
    mine, other = partners.positions[:, side], partners.positions[:, 1 - side]
    order = np.lexsort((-partners.cosine, mine))  # the nearest partner comes first
    first = order[np.unique(mine[order], return_index=True)[1]]
    place = {int(row): int(k) for row, k in zip(mine[first], first, strict=True)}
    found = []
    for row in view.drawn[side].tolist():
        k, number = place.get(row), int(view.rows[side][row])
        if k is None:
            found.append([number, "not shown", "", ""])
            continue
        theirs = int(view.rows[1 - side][other[k]])
        found.append([number, theirs, f"{partners.cosine[k]:.3f}", int(partners.rank[k, side])])
    return found


def cosines(partners: Partners) -> Figure:
    """Cosines of partners against those of shuffled partners."""
    both = np.concatenate([partners.cosine, partners.shuffled])
    edges = np.linspace(both.min() - 1e-6, both.max() + 1e-6, _BINS + 1)
    room = 0.03 * float(edges[-1] - edges[0])
    data = []
    kinds = (("partners", partners.cosine, GREEN), ("shuffled partners", partners.shuffled, GREY))
    for k, (name, values, color) in enumerate(kinds):
        share = np.histogram(values, edges)[0] / max(len(values), 1)
        data.append(fg.histogram(name, edges, share, color, k))
    frame = fg.layout(
        "cosine",
        "share of pairs",
        xaxis={"range": [float(edges[0]) - room, float(edges[-1]) + room]},
        yaxis={"rangemode": "tozero", "tickformat": ".0%", "nticks": 5},
    )
    return Figure(
        "cosines",
        data,
        frame,
        f"Partners have a mean cosine of {partners.cosine.mean():.3f}.",
        "If the curves overlap, partners are told apart from other rows only in part.",
    )


def recall(report: "Report", partners: Partners) -> Figure:
    """Recall@k in the other modality, and recall@1 in a corpus of both."""
    data, (a, b) = [], (short(name) for name in report.names)
    ways = (("x_to_y", f"{a} → {b}", fg.FIRST, "circle"), ("y_to_x", f"{b} → {a}", fg.SECOND, "diamond-open"))
    for k, (way, label, color, symbol) in enumerate(ways):
        chosen = [m for m in report.metrics if m.name.startswith("recall@") and m.name.endswith(way)]
        rows = [m.name.split("_")[0] for m in chosen]
        values = [*(m.value for m in chosen), partners.mixed[k]]
        data.append(fg.marks(label, values, [*rows, "recall@1 in a<br>corpus of both"], color, symbol))
        data[-1]["y"][-1] = "recall@1 in a<br>corpus of both"
    frame = fg.layout("share of queries", xaxis={"range": [-0.03, 1.03]}, yaxis={"autorange": "reversed"})
    there = report["recall@1_x_to_y"]
    return Figure(
        "recall",
        data,
        frame,
        f"Recall@1 is {there.value:.3f} from {a} to {b}.",
        f"The share of queries that find their partner among the k nearest of {there.rows[1]} rows "
        "of the other "
        f"modality (by chance {there.null_mean:.2g} at k = 1), and last row: first in a corpus of both.",
    )


def spectra(report: "Report", view: View) -> Figure:
    """Singular values of both modalities and of the partners' differences."""
    data = []
    for k, (name, values) in enumerate(zip(report.names, view.spectra, strict=False)):
        data.append(_spectrum(short(name), values, (fg.FIRST, fg.SECOND)[k], k))
    differences = [values for values in view.spectra[2:] if len(values)]  # empty if all partners are equal
    if differences:
        data.append(_spectrum("differences of partners", differences[0], GREEN, 2))
    largest = max((float(values[0]) for values in view.spectra if len(values)), default=0.0)
    ticks = {"type": "log", "dtick": 1, "exponentformat": "none"}
    # The last directions are often rounding: three decades are shown.
    heights = {"range": [float(np.log10(largest)) - 3, float(np.log10(largest)) + 0.1]} if largest > 0 else {}
    frame = fg.layout("number of the direction", "size along it", xaxis=ticks, yaxis={**ticks, **heights})
    caption = (
        "Standard deviation of the rows along each principal direction, largest first. A curve that "
        "falls fast "
        "means that few directions carry the modality."
    )
    if differences:
        caption += (
            " For the differences of partners the mean is kept: a first value far above the second "
            "is a constant "
            "shift."
        )
    return Figure("spectra", data, frame, "Singular values of each modality.", caption, height=360)


def _spectrum(name: str, values: np.ndarray, color: str, number: int) -> dict[str, Any]:
    # On a logarithmic axis, a few dozen points per decade draw the same curve as thousands.
    kept = np.unique(np.geomspace(1, max(len(values), 1), 120).round().astype(int)) - 1
    kept = kept[kept < len(values)]
    return fg.curve(name, kept + 1, values[kept], color, number)
