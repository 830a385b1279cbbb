"""Texts that try to be more than text, for every field that a model, a query or a file can fill."""

from __future__ import annotations

INJECTIONS = (
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<svg/onload=window.pwned=1>",
    "\"><iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<!--<script>window.pwned=1//",
    "</style><style>*{display:none}</style>",
    "javascript:window.pwned=1",
    "${window.pwned=1}{{constructor.constructor('window.pwned=1')()}}",
    "'-(window.pwned=1)-'",
    "&lt;script&gt;window.pwned=1&lt;/script&gt;",
    "]]></textarea></title></dialog>",
    "\u202eevil\u202c\u2066isolated\u2069\u200bzero\u00adsoft",
    "\x00\x07\x1b[31mred\x1b[0m\x7f",
    "lone \ud83d surrogate \udc00",
    "__proto__",
    "constructor",
    "../../etc/passwd",
    "#/0/samples?id=<b>x</b>",
    "{{data}} {{script}} {{policy}}",
)
