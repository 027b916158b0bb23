"""One self-contained page: sections of text, tables, figures and pictures. Nothing is loaded from anywhere."""

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NewType

import cv2
import numpy as np

from palpate.core.errors import DataError, RecordError
from palpate.evaluation.page_style import CSS
from palpate.evaluation.tables import Table

Html = NewType("Html", str)
"""A fragment whose text is escaped already; only the functions below make one."""

MAX_BYTES = 15_000_000
"""A page larger than this is hard to send and slow to open; `Page.write` refuses it."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A titled part of a page."""

    title: str
    parts: tuple[Html, ...]

    @property
    def anchor(self) -> str:
        """Name of the section in links."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True, kw_only=True)
class Page:
    """A report: title, a line below it, and sections in order."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        """Refuse two sections of one name: links would lead to the wrong one."""
        anchors = [s.anchor for s in self.sections]
        if len(set(anchors)) != len(anchors):
            raise RecordError(f"page {self.title!r}: section titles must differ, got {[s.title for s in self.sections]}")

    def html(self) -> str:
        """Return the whole page."""
        links = "".join(f"<li><a href='#{s.anchor}'>{html.escape(s.title)}</a></li>" for s in self.sections)
        body = "".join(
            f"<section id='{s.anchor}'><h2>{html.escape(s.title)}</h2>{''.join(s.parts)}</section>" for s in self.sections
        )
        return (
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>"
            "<meta name='color-scheme' content='light dark'>"
            f"<title>{html.escape(self.title)}</title><style>{CSS}</style></head><body>"
            f"<nav aria-label='Contents'><ol>{links}</ol></nav><main><header><h1>{html.escape(self.title)}</h1>"
            f"<p class='subtitle'>{html.escape(self.subtitle)}</p></header>{body}</main></body></html>"
        )

    def write(self, path: Path | str) -> Path:
        """Write the page and return its path; parent folders are made.

        Raises:
            DataError: if the page is larger than `MAX_BYTES`.
        """
        path = Path(path)
        data = self.html().encode("utf-8")
        if len(data) > MAX_BYTES:
            sizes = {s.title: sum(map(len, s.parts)) for s in self.sections}
            largest = max(sizes, key=lambda title: sizes[title])
            raise DataError(
                f"{path}: the page has {len(data)} bytes, allowed are {MAX_BYTES}; the largest section is {largest!r} "
                f"({sizes[largest]} bytes); give fewer pictures or fewer points"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


def paragraph(text: str) -> Html:
    """Return a paragraph."""
    return Html(f"<p>{html.escape(text)}</p>")


def heading(text: str) -> Html:
    """Return a heading inside a section."""
    return Html(f"<h3>{html.escape(text)}</h3>")


def bullets(items: Iterable[str]) -> Html:
    """Return a list of points."""
    return Html("<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>")


def missing(what: str) -> Html:
    """Name a part that this run does not have, so that its absence is seen."""
    return Html(f"<p class='missing'>{html.escape(what)}: not part of this run.</p>")


def caution(text: str) -> Html:
    """Return a remark that limits what the numbers beside it mean."""
    return Html(f"<p class='caution'>{html.escape(text)}</p>")


def code(text: str, summary: str = "") -> Html:
    """Return text as typed; folded away under `summary` if one is given."""
    block = f"<pre><code>{html.escape(text)}</code></pre>"
    return Html(f"<details><summary>{html.escape(summary)}</summary>{block}</details>" if summary else block)


def facts(items: Mapping[str, str]) -> Html:
    """Return names with their values."""
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in items.items())
    return Html(f"<dl>{rows}</dl>")


def cards(items: Sequence[tuple[str, str, str]]) -> Html:
    """Return key numbers in a row: (number, what it is, small print)."""
    made = "".join(
        f"<div class='card'><div class='number'>{html.escape(number)}</div><div class='what'>{html.escape(what)}</div>"
        f"<div class='small'>{html.escape(small)}</div></div>"
        for number, what, small in items
    )
    return Html(f"<div class='cards'>{made}</div>")


def table(content: Table) -> Html:
    """Return a table."""
    return Html(content.html())


def figure(uri: str, caption: str, alt: str) -> Html:
    """Return a figure from a data URI, with a caption and words for those who do not see it."""
    _refuse_address(uri)
    return Html(
        f"<figure><img src='{uri}' alt='{html.escape(alt, quote=True)}'>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def picture(uri: str, label: str, alt: str) -> Html:
    """Return a small picture with a label below."""
    _refuse_address(uri)
    return Html(
        f"<figure class='picture'><img src='{uri}' alt='{html.escape(alt, quote=True)}'>"
        f"<figcaption>{html.escape(label)}</figcaption></figure>"
    )


def gallery(title: str, pictures: Sequence[Html], lines: Mapping[str, str]) -> Html:
    """Return a row of pictures under a title, with named lines of text below."""
    return Html(
        f"<article class='gallery'><h4>{html.escape(title)}</h4>"
        f"<div class='row'>{''.join(pictures)}</div>{facts(lines)}</article>"
    )


def _refuse_address(uri: str) -> None:
    """Only data URIs keep the page self-contained; a quote would end the attribute."""
    if not re.fullmatch(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", uri):
        raise RecordError(
            f"a picture must be a base64 data URI, got {uri[:60]!r}; make one with picture_uri or figures.svg_uri"
        )


def data_uri(kind: str, content: bytes) -> str:
    """Return a base64 data URI of media type `image/<kind>`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def picture_uri(rgb: np.ndarray, *, width: int = 320, quality: int = 85) -> str:
    """Return a colour picture (H, W, 3) uint8 as a JPEG data URI, at most `width` pixels wide.

    Raises:
        RecordError: if the array is not a colour picture.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise RecordError(f"a picture must be (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    if rgb.shape[1] > width:
        height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise DataError(f"cannot encode a picture of shape {rgb.shape} as JPEG")
    return data_uri("jpeg", encoded.tobytes())
