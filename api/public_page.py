"""The public page: a form and an answer in plain HTML, Chinese first; no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from typing import Any

NO_STORE = {"Cache-Control": "no-store"}
_STYLE = """
:root{color-scheme:light dark;--good:#0a6b3d;--bad:#b3261e;--warn:#8a5300}
@media (prefers-color-scheme:dark){:root{--good:#5fd39a;--bad:#ff8a80;--warn:#ffc266}}
body{font:17px/1.6 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;margin:0}
main{max-width:34rem;margin:0 auto;padding:1.25rem}
h1{font-size:1.45rem;line-height:1.3;margin:.25rem 0 1rem}
small,.en{display:block;font-size:.85rem;opacity:.8;font-weight:400}
label{display:block;margin:.9rem 0 .25rem;font-weight:600}
input{box-sizing:border-box;width:100%;font:inherit;padding:.7rem;
border:1px solid #888;border-radius:.5rem}
button{width:100%;font:inherit;font-weight:600;margin-top:1.1rem;padding:.8rem;border:0;
border-radius:.5rem;background:#0b57d0;color:#fff}
input:focus-visible,button:focus-visible{outline:3px solid #7cacf8;outline-offset:2px}
section{margin-top:1.5rem;border:1px solid #8888;border-left:.5rem solid;border-radius:.5rem;
padding:.75rem 1rem}
section p{margin:.25rem 0}
.verdict{font-size:1.2rem;font-weight:700}
.good{border-left-color:var(--good)}.good .verdict{color:var(--good)}
.bad{border-left-color:var(--bad)}.bad .verdict{color:var(--bad)}
.warn{border-left-color:var(--warn)}.warn .verdict{color:var(--warn)}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:.75rem 0 0}
dt{opacity:.8}dd{margin:0;overflow-wrap:anywhere}
footer{margin-top:2rem;font-size:.85rem;opacity:.85}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    **NO_STORE,
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Language": "zh",
}
_LOOK = {"genuine": "good", "recalled": "bad", "unknown": "bad"}
# What is shown of the answer: its field, and the words for it.
_ROWS = (
    ("product", "疫苗名称", "Vaccine"),
    ("product_en", "英文名称", "English name"),
    ("holder", "上市许可持有人", "Licence holder"),
    ("lot_number", "批号", "Lot"),
    ("expires_on", "有效期至", "Expires"),
    ("code", "追溯码", "Code"),
)


def render(
    code: str, check: str, answer: Mapping[str, Any] | None, problem: tuple[str, str]
) -> str:
    """Return the page; `answer` to the code asked for, or `problem` (zh, en) with it."""
    shown = "" if answer is None else _answered(answer)
    if any(problem):
        shown = _section("warn", *problem)
    return f"""<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex"><title>疫苗追溯码核验 · Verify a vaccine</title>
<style>{_STYLE}</style></head><body><main>
<h1>疫苗追溯码核验<span class="en" lang="en">Verify a vaccine code</span></h1>
<form action="/verify" method="get">
<label for="code">追溯码<span class="en" lang="en">Code on the pack</span></label>
<input id="code" name="code" value="{escape(code)}" required autocomplete="off" maxlength="200"
 autocapitalize="off" spellcheck="false" placeholder="20 位数字，或扫码所得内容">
<label for="check">校验码（如另行印制）
<span class="en" lang="en">Check part, 4 digits, if printed apart</span></label>
<input id="check" name="check" value="{escape(check)}" autocomplete="off" inputmode="numeric"
 maxlength="4">
<button>核验 · Verify</button></form>
{shown}
<footer>核验不收集个人信息。结果有疑问时，请勿使用，并联系接种单位或当地疾控中心。
<span class="en" lang="en">No personal data are collected. When in doubt do not use the vaccine; ask
the clinic or the local centre for disease control.</span></footer>
</main></body></html>
"""


def _answered(answer: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<dt>{zh}<span class="en" lang="en">{en}</span></dt><dd>{escape(str(answer[name]))}</dd>'
        for name, zh, en in _ROWS
        if answer[name]
    )
    look = _LOOK.get(answer["verdict"], "warn")
    return _section(look, answer["text_zh"], answer["text_en"], f"<dl>{rows}</dl>")


def _section(look: str, zh: str, en: str, more: str = "") -> str:
    return (
        f'<section class="{look}" role="status"><p class="verdict">{escape(zh)}</p>'
        f'<p class="en" lang="en">{escape(en)}</p>{more}</section>'
    )
