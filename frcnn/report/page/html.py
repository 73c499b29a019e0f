"""The page as HTML: one file with styles, script, pictures and plots in it."""

import base64
import hashlib
import io
import math
import re
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

import frcnn
from frcnn.report.page.charts import MOST_LINES
from frcnn.report.page.choices import GROUPS
from frcnn.report.page.content import DRAWS, Content, error_kinds
from frcnn.report.page.training_curves import INK, training_figure

MOST_SUSPICIOUS = 100  # in the page; all are in the table beside it
DARK = "<style>svg{color:#333}@media(prefers-color-scheme:dark){svg{color:#ccc}}</style>"


def page_html(content: Content) -> str:
    """Return the page; the same content gives the same text."""
    template, style, script = (_read(name) for name in ("page.html.jinja", "page.css", "page.js"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(template).render(
        page=_page(content),
        style=style,
        script=script,
        script_hash=f"sha256-{digest}",
        most_lines=MOST_LINES,
        most_suspicious=MOST_SUSPICIOUS,
    )


def _page(content: Content) -> dict[str, Any]:
    measured = content.measured
    thresholds, detections = measured.thresholds, measured.detections
    present = {group for each in content.pictures for group in each.groups}
    return {
        "content": content,
        "title": f"{dict(content.known.origin.facts).get('Backbone', 'Detections')} on {_split(content)}",
        "subtitle": _subtitle(content),
        "rows": measured.rows,
        "mean": measured.total,
        "totals": measured.total.at_best,
        "thresholds": thresholds,
        "best_score": measured.score,
        "best_defined": measured.defined,
        "charts": measured.charts,
        "errors": error_kinds(measured),
        "groups": [("all", "all"), *(pair for pair in GROUPS.items() if pair[0] in present)],
        "suspicious": _suspicious(content),
        "training": _svg(training_figure(content.known.logs)) if content.known.logs else "",
        "draws": f"{DRAWS:,}",
        "iou_threshold": content.params.evaluate.iou_threshold,
        "has_difficult": bool(measured.objects.difficult.any()),
        "version": frcnn.__version__,
        "script_data": {
            "scores": thresholds.scores.tolist(),
            "best": thresholds.best,
            "objects": [row.objects for row in measured.rows],
            "found": thresholds.found.tolist(),
            "detections": thresholds.detections.tolist(),
            "names": [*detections.class_names, "background"],
        },
    }


def _split(content: Content) -> str:
    return content.measured.detections.split or content.params.splits.test


def _subtitle(content: Content) -> str:
    total, images = content.measured.total, len(content.measured.detections.image_ids)
    trained = [split for split in content.known.origin.splits if split.name != _split(content)]
    parts = [f"{images:,} pictures", f"{total.objects:,} objects", f"{total.detections:,} detections of any score"]
    after = f"; training split: {trained[0].name}, {trained[0].images:,} pictures" if trained else ""
    return f"{', '.join(parts)}, classes: {len(content.measured.rows)}{after}"


def _suspicious(content: Content) -> list[dict[str, Any]]:
    measured, shown = content.measured, {each.picture.index for each in content.pictures}
    first = measured.objects.images.searchsorted(range(len(measured.detections.image_ids)))
    return [
        {
            "image": each.image,
            "file": measured.detections.image_ids[each.image],
            "shown": each.image in shown,
            "kind": each.kind,
            "label": each.label,
            "name": measured.detections.class_names[each.label - 1],
            "object": each.object - int(first[each.image]) + 1 if each.object >= 0 else None,
            "score": None if math.isnan(each.score) else each.score,
            "box": [f"{value:.0f}" for value in each.box],
        }
        for each in measured.suspicions
    ]


def _svg(figure: Figure) -> str:
    """Return a figure as SVG in base64; its ink is light on a dark screen."""
    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "frcnn", "svg.fonttype": "none"}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = content.getvalue().replace(INK, "currentColor")
    return base64.b64encode(re.sub("(<svg[^>]*>)", rf"\1{DARK}", text, count=1).encode()).decode()


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
