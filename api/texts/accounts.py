"""What refusals of accounts say, in Chinese and in English, by code."""

from __future__ import annotations

TEXTS = {
    "bad_digest": (
        "密钥摘要须为 64 位十六进制小写（SHA-256）",
        "The digest must be 64 lower-case hexadecimal digits (SHA-256)",
    ),
    "unknown_role": ("没有角色 {value}", "There is no role {value}"),
    "unknown_key": ("没有这个密钥", "There is no such key"),
    "key_revoked": ("密钥 {key_id} 已撤销", "Key {key_id} was revoked"),
}
