"""A refusal told to the person at the terminal: Chinese first, then English."""

from __future__ import annotations


class Refusal(Exception):
    """What cannot be done and how to mend it, in both languages."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(f"{zh}\n{en}")
        self.zh = zh
        self.en = en
