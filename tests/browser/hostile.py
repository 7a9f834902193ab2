"""Texts that would run as a program, style the page or load something, if anything took them for markup.

Each calls ``alert`` (which a test hears of), renames the page, or would ask for a file called ``sutro-owned``.
"""

from __future__ import annotations

CORPUS = [
    "<img src=x onerror=alert('owned')>",
    "<script>alert('owned')</script>",
    "</script><script>alert('owned')</script>",
    "</style><img src=x onerror=alert('owned')>",
    "</textarea></title><svg onload=alert('owned')>",
    "<svg/onload=alert('owned')>",
    "<svg><script>alert('owned')</script></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert('owned')>",
    "<iframe srcdoc=\"<script>parent.alert('owned')</script>\"></iframe>",
    "<a href=\"javascript:alert('owned')\">a</a>",
    "<details open ontoggle=alert('owned')>",
    "<input autofocus onfocus=alert('owned')>",
    "<video><source onerror=alert('owned')></video>",
    "<body onload=alert('owned')>",
    "<link rel=stylesheet href=/sutro-owned.css>",
    "<img src=/sutro-owned.png>",
    "<style>* { display: none !important }</style>",
    "<base href=/sutro-owned/>",
    "<meta http-equiv=refresh content='0;url=/sutro-owned'>",
    '" onmouseover="alert(\'owned\')" x="',
    "' onfocus='alert(1)' autofocus='",
    "`onerror=alert('owned')`",
    "&lt;img src=x onerror=alert('owned')&gt;",
    "&#60;script&#62;alert('owned')&#60;/script&#62;",
    "\\u003cscript\\u003ealert('owned')\\u003c/script\\u003e",
    "<!--<img src=\"--><img src=x onerror=alert('owned')//\">",
    "<![CDATA[<script>alert('owned')</script>]]>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert('owned')}",
    "$x^2$ and \\(y\\) and $$\\href{javascript:alert(1)}{z}$$",
    "__proto__",
    "constructor",
    "\x1b]0;owned\x07\x1b[2J",
    "\u202eowned\u202c",
]
"""Hand-written, none of them copied from a list."""
