"""How calls are signed: HMAC-SHA256 over who calls what, when, under which id, and the body.

The text signed is five lines, each with its end (LF): method of the interface, application key,
time (UTC, seconds since 1970), request id, SHA-256 of the body in hex. The platform's own form may
differ; this module is the one place to change then.
"""

from __future__ import annotations

import hashlib
import hmac


def signature(
    secret: str, *, method: str, app_key: str, timestamp: int, request_id: str, body: bytes
) -> str:
    """Return the signature in lower-case hex."""
    lines = (method, app_key, str(timestamp), request_id, hashlib.sha256(body).hexdigest(), "")
    return hmac.new(secret.encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()
