"""Roles (IEC 62351-8 names, OPC UA well-known roles) and their rights, and which of them nobody has together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from address_space.ports import Right

Role = Literal[
    "Observer",
    "Operator",
    "Supervisor",
    "Engineer",
    "Installer",
    "SecurityAdmin",
    "RbacManager",
    "SecAuditor",
    "ConfigureAdmin",
]
"""Names of all roles."""
_LOOK = frozenset({Right.BROWSE, Right.READ})
ROLE_RIGHTS: Final[Mapping[str, frozenset[Right]]] = {
    "Observer": _LOOK,
    "Operator": _LOOK | {Right.OPERATE},
    "Supervisor": _LOOK | {Right.OPERATE, Right.SUPERVISE},
    "Engineer": _LOOK | {Right.CONFIGURE},
    "Installer": _LOOK | {Right.COMMISSION},
    "SecurityAdmin": frozenset({Right.ADMINISTER}),
    "RbacManager": frozenset(),
    "SecAuditor": frozenset({Right.AUDIT}),
    "ConfigureAdmin": frozenset(),
}
"""Role -> rights. Roles without any stand for what is done outside OPC UA: role table, endpoints and restart."""
SECURITY_ADMIN: Final = "SecurityAdmin"
_APART: Final = {SECURITY_ADMIN: frozenset({"Operator", "Supervisor", "Engineer"})}


def conflict(roles: Iterable[str]) -> str:
    """Why nobody may have these roles together, empty when one may (separation of duties, IEC 62351-8)."""
    held = frozenset(roles)
    for role, others in _APART.items():
        both = sorted(held & others)
        if role in held and both:
            return f"{role} is not given together with {' or '.join(both)}"
    return ""
