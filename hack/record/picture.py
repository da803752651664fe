"""An animated SVG of a recording: one file, without a script, that loads nothing and moves in any browser.

All frames stand below one another, and the strip jumps from one to the next. A row that is seen again is drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hack.record.terminal import COLUMNS, Frame, Row, Run

_WIDTH, _HEIGHT, _MARGIN, _BAR = 8, 18, 14, 30
_COLOURS = {
    "default": "#d6deeb",
    "black": "#5c6773",
    "red": "#ff6b6b",
    "green": "#7fd962",
    "brown": "#ffd173",  # what pyte calls yellow
    "blue": "#6cb6ff",
    "magenta": "#d2a6ff",
    "cyan": "#5ccfe6",
    "white": "#ffffff",
}
_LAST_SECONDS = 4.0
"""How long the end stays, in the picture's time."""


def drawn(frames: Sequence[Frame], seconds: float, *, title: str, speed: float = 1.0) -> str:
    """Return the picture.

    Args:
        frames: what was to be seen.
        seconds: how long the recording took.
        title: the command, for the window's bar and for who cannot see it.
        speed: how many seconds of the recording a second shows.
    """
    count = len(frames[0].rows)
    rows: dict[Row, str] = {}
    strip = []
    for place, frame in enumerate(frames):
        for line, row in enumerate(frame.rows):
            if row:
                name = rows.setdefault(row, f"r{len(rows)}")
                strip.append(f'<use href="#{name}" y="{place * count * _HEIGHT + line * _HEIGHT}"/>')
    lasts = seconds / speed + _LAST_SECONDS
    steps = "".join(
        f"{frame.at / speed / lasts:.3%}{{transform:translateY({-place * count * _HEIGHT}px)}}"
        for place, frame in enumerate(frames)
    )
    last = f"translateY({-(len(frames) - 1) * count * _HEIGHT}px)"
    width, height = COLUMNS * _WIDTH, count * _HEIGHT
    symbols = "".join(f'<g id="{name}">{"".join(map(_text, row))}</g>' for row, name in rows.items())
    colours = "".join(f".{name}{{fill:{colour}}}" for name, colour in _COLOURS.items())
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="Recording of {escape(title)}" \
viewBox="0 0 {width + 2 * _MARGIN} {height + _BAR + _MARGIN}">
<style>
text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}}
.bold{{font-weight:bold}}{colours}
#strip{{animation:play {lasts:.1f}s step-end infinite}}
@keyframes play{{0%{{transform:none}}{steps}}}
@media (prefers-reduced-motion:reduce){{.bold{{font-weight:bold}}{colours}
#strip{{animation:none;transform:{last}}}}}
</style>
<rect width="100%" height="100%" rx="8" fill="#1b2430"/>
<g fill="#445061"><circle cx="16" cy="15" r="5"/><circle cx="32" cy="15" r="5"/><circle cx="48" cy="15" r="5"/></g>
<text x="50%" y="20" text-anchor="middle" fill="#8b98a9">{escape(title)}</text>
<defs>{symbols}</defs>
<svg x="{_MARGIN}" y="{_BAR}" width="{width}" height="{height}"><g id="strip">{"".join(strip)}</g></svg>
</svg>
"""


def _text(run: Run) -> str:
    kind = run.colour if run.colour in _COLOURS else "default"
    # The length keeps columns below one another in whatever font there is.
    return (
        f'<text x="{run.column * _WIDTH}" y="14" class="{kind}{" bold" if run.bold else ""}" '
        f'textLength="{len(run.text) * _WIDTH}">{escape(run.text)}</text>'
    )
