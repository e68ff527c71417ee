"""The report as one page that needs no other file."""

from __future__ import annotations

import base64
from html import escape

from .examination import Report
from .findings import Finding
from .words import heading, summary

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
  color: #1b1f27 }
h1 { font-size: 1.4rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse }
td, th { padding: .3rem 1rem .3rem 0; vertical-align: top; text-align: left }
.finding { border-left: 5px solid; padding: .5rem 1rem; margin: .6rem 0; background: #f6f7f9 }
.finding b { text-transform: uppercase; font-size: .8rem; letter-spacing: .04em }
.problem { border-color: #c62828 } .remark { border-color: #d99000 } .fine { border-color: #3b8f4a }
.problem b { color: #c62828 } .remark b { color: #a56c00 } .fine b { color: #3b8f4a }
.check, dt { color: #687080 } .check { font-size: .85rem }
dl { display: grid; grid-template-columns: 4rem 1fr; margin: .3rem 0 0 } dd { margin: 0 }
img { max-width: 100%; border: 1px solid #d5d9e0 }
pre { background: #14171d; color: #e8eaee; padding: 1rem; overflow-x: auto }
"""


def as_html(report: Report, png: bytes) -> str:
    """The whole page; the picture is inside of it."""
    facts = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in report.facts.items())
    serious = [finding for finding in report.findings if finding.level != "fine"]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(report.name)} – lerobot-xwam doctor</title>
<style>{STYLE}</style></head><body>
<h1>{escape(report.name)}</h1><p>{escape(summary(report))}</p>
<table>{facts}</table>
<h2>What to look at</h2>
{"".join(map(_finding, serious)) or "<p>Nothing: no problems, no remarks.</p>"}
<h2>One sample, decoded</h2>
<img alt="a training window and its episode"
  src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">
<h2>Next</h2><p>{escape(heading(report))}</p>
<pre>{escape(" \\\n    ".join(report.command))}</pre>
<details><summary>What is fine ({len(report.of("fine"))})</summary>
{"".join(map(_finding, report.of("fine")))}</details>
</body></html>
"""


def _finding(finding: Finding) -> str:
    parts = [(name, getattr(finding, name)) for name in ("where", "why", "fix")]
    details = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in parts if text)
    title = f'<b>{finding.level}</b> <span class="check">{escape(finding.check)}</span>'
    return f'<div class="finding {finding.level}">{title}<br>{escape(finding.what)}<dl>{details}</dl></div>'
