"""Checks what a reader sees of a figure."""

import itertools

from matplotlib.text import Text


def legend_texts(figure):
    """Texts of the legends of a figure."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def assert_readable(figure):
    """No text is small, cut off or over another one, and no legend over the axes."""
    figure.canvas.draw()
    hidden = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    texts = [t for t in texts if t not in hidden]
    boxes = [t.get_window_extent() for t in texts]
    page = figure.bbox.padded(1)
    small = [t.get_text() for t in texts if t.get_fontsize() < 8]
    cut = [
        t.get_text()
        for t, box in zip(texts, boxes, strict=True)
        if not (page.contains(*box.min) and page.contains(*box.max))
    ]
    over = [
        (a.get_text(), b.get_text())
        for (a, first), (b, second) in itertools.combinations(zip(texts, boxes, strict=True), 2)
        if first.padded(-1).overlaps(second.padded(-1))
    ]
    legends = [legend.get_window_extent() for legend in figure.legends]
    covered = [a.get_title() for a in figure.axes for box in legends if a.bbox.overlaps(box)]
    assert (small, cut, over, covered) == ([], [], [], [])
