"""Plays menus to a caller who presses keys, or none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

from local.simulator.readings import LIKELIEST, Readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.simulator.svaml import RunMenu

FirstMenu = Literal["main", "mainMenu"]
"""The menu that is played first: the one with the id ``main`` or the one that ``mainMenu`` names.

The field's own description says the latter. The descriptions of ``menus`` in Sinch's SDKs and its pages of 2021 say
the former. It was not tried on the real platform."""

FIRST_MENUS: tuple[FirstMenu, ...] = get_args(FirstMenu)

MenuResult = dict[str, str]
"""The ``menuResult`` of a PIE. As far as we know, it has no ``value`` and no ``inputMethod`` if there is no input."""

_MAX_MENUS = 20


def play_menus(
    action: RunMenu, entries: Iterator[str], first: FirstMenu = "mainMenu", readings: Readings = LIKELIEST
) -> MenuResult:
    """Play the menus to a caller who enters one of ``entries`` in each; without further entries, a menu times out."""
    result = _play_menus(action, entries, first)
    if "value" in result:
        result["value"] = result["value"][: readings.menu_value_limit]
    return result | {"type": result["type"].capitalize()} if readings.capital_results else result


def _play_menus(action: RunMenu, entries: Iterator[str], first: FirstMenu) -> MenuResult:
    menus = {menu.id: menu for menu in action.menus}
    menu = menus["main"] if first == "main" else menus.get(action.main_menu, menus["main"])
    for _ in range(_MAX_MENUS):
        entry = next(entries, "")
        if entry in {"", "hangup"}:
            return {"menuId": menu.id, "type": entry or "timeout"}
        chosen = next((option.action for option in menu.options if option.dtmf == entry), None)
        if chosen is None:
            fits = entry.isdecimal() and len(entry) <= (menu.max_digits or 0)
            return _make_result(menu.id, "sequence" if fits else "invalidinput", entry)
        target = re.fullmatch(r"menu\((.+)\)", chosen)
        if target is None:
            return _make_result(menu.id, "return", chosen.removeprefix("return").strip("()"))
        menu = menus[target[1]]
    return {"menuId": menu.id, "type": "error"}


def _make_result(menu_id: str, kind: str, value: str) -> MenuResult:
    return {"menuId": menu_id, "type": kind, "value": value, "inputMethod": "dtmf"}
