"""How a step fails, and what must never leave it."""

import base64
import re

_HIDDEN = "***"
_SHORTEST = 4  # hiding shorter values would only mangle the text
_PATTERNS = (
    # `{"` in base64, the start of every token, whole or cut: subctl makes some that we do not know of.
    (re.compile(r"eyJ[\w+/=.-]{16,}"), _HIDDEN),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), _HIDDEN),
    # Go prints bytes as numbers, and subctl prints whole Secrets when it cannot create one ("error creating %#v").
    (re.compile(r"\[\](uint8|byte)\{[^{}]*\}"), r"[]\1{" + _HIDDEN + "}"),
)
_known: set[str] = set()


class StepError(Exception):
    """What failed and what to do about it, in one sentence for people."""


class StoppedError(BaseException):
    """The step has to end now: a signal, or its time is up. Not an Exception, so that nothing swallows it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TimeUpError(StoppedError):
    """The step has used up its time."""


def remember(*secrets: str | bytes | None) -> None:
    """Have `scrub` hide these values, as they are and in base64."""
    for secret in secrets:
        raw = secret.encode() if isinstance(secret, str) else secret or b""
        texts = [base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode(), raw.decode(errors="replace")]
        _known.update(text for text in (*texts, texts[-1].strip()) if len(text) >= _SHORTEST)


def scrub(text: str) -> str:
    """The text with `***` in place of every remembered secret and of what looks like one."""
    for secret in sorted(_known, key=len, reverse=True):  # a long one may contain a short one
        text = text.replace(secret, _HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def forced() -> bool:
    """Whether the user wants it done in spite of what a step would refuse for (`MESH_FORCE=1`)."""
    import os

    return os.environ.get("MESH_FORCE") == "1"
