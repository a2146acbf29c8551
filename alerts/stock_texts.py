"""What messages say of goods that an alert affected, as far as was known then.

Chinese first, English second; `language` is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def brief(alert: Mapping[str, Any]) -> str:
    """Return the goods for one line in Chinese, empty where nothing is known of any."""
    stock = alert.get("stock") or {}
    return f" 疫苗{stock['lots']}批{stock['doses']}剂" if stock.get("units") else ""


def lines(alert: Mapping[str, Any], language: int) -> list[str]:
    """Return the goods with their first lots, and whether they are held."""
    stock = alert.get("stock")
    if not stock:
        return []
    lots, units, doses, held = (stock[name] for name in ("lots", "units", "doses", "held"))
    if language == 0:
        bound = f"，{held} 支已封存，须由人员评估后解除或销毁" if held else ""
        found = [f"疫苗：{lots} 批 {doses} 剂（{units} 支）{bound}"]
        found += [f"批次：{lot or '-'} {n} 支 {d} 剂" for lot, n, d in stock["listed"]]
        rest = f"其余 {lots - len(stock['listed'])} 批见链接"
    else:
        bound = f"; {held} on hold until people have assessed them" if held else ""
        found = [f"Vaccine: {lots} lots, {doses} doses ({units} packs){bound}"]
        found += [f"Lot: {lot or '-'}, {n} packs, {d} doses" for lot, n, d in stock["listed"]]
        rest = f"{lots - len(stock['listed'])} more lots: see the link"
    return found + [rest] * (lots > len(stock["listed"]))
