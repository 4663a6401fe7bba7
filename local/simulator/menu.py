"""What becomes of a menu when the caller presses a key, or does not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.simulator.svaml import RunMenu

FirstMenu = Literal["main", "mainMenu"]
"""Which menu is played first. The field's own description says the one that ``mainMenu`` names; the descriptions of
``menus`` in Sinch's SDKs, and its pages of 2021, say the one with the id ``main``. Nobody has tried it."""

FIRST_MENUS: tuple[FirstMenu, ...] = get_args(FirstMenu)

MenuResult = dict[str, str]
"""PIE's ``menuResult``. Without input it has neither ``value`` nor ``inputMethod``, as far as is known."""

_MAX_MENUS = 20


def run(action: RunMenu, entries: Iterator[str], first: FirstMenu = "mainMenu") -> MenuResult:
    """Play the menus to a caller who enters ``entries``, one for each; when they run out, nothing."""
    menus = {menu.id: menu for menu in action.menus}
    menu = menus["main"] if first == "main" else menus.get(action.main_menu, menus["main"])
    for _ in range(_MAX_MENUS):
        entry = next(entries, "")
        if entry in {"", "hangup"}:
            return {"menuId": menu.id, "type": entry or "timeout"}
        chosen = next((option.action for option in menu.options if option.dtmf == entry), None)
        if chosen is None:
            fits = entry.isdecimal() and len(entry) <= (menu.max_digits or 0)
            return _with_input(menu.id, "sequence" if fits else "invalidinput", entry)
        target = re.fullmatch(r"menu\((.+)\)", chosen)
        if target is None:
            return _with_input(menu.id, "return", chosen.removeprefix("return").strip("()"))
        menu = menus[target[1]]
    return {"menuId": menu.id, "type": "error"}


def _with_input(menu_id: str, kind: str, value: str) -> MenuResult:
    return {"menuId": menu_id, "type": kind, "value": value, "inputMethod": "dtmf"}
