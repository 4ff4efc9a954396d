"""Methods of the standard's own objects and of condition instances: which there are, and who answers a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from address_space.opcua.untyped import ua
from address_space.ports import MethodSpec

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

Results = tuple[int, Sequence[Any]]
"""StatusCode and output Variants (asyncua's), as many as the spec has outputs when the status is Good."""
Call = Callable[["InternalServer", "Session", Sequence[Any]], Awaitable[Results]]
"""`(server, session, input Variants)`; the inputs have been checked against the spec."""
InstanceCall = Callable[["InternalServer", "Session", Any, Sequence[Any]], Awaitable[Results]]
"""`(server, session, ObjectId, input Variants)` for methods that many objects share."""
Applies = Callable[["InternalServer", Any, Any], bool]
"""`(server, ObjectId, MethodId)`: whether the method is called on such an object."""


@dataclass(frozen=True, slots=True)
class StandardMethod:
    """A method of namespace 0, or one that instances of a type share.

    Attributes:
        spec: name, arguments and right; the right is checked on the empty address unless `anybody`.
        objects: numeric ids (namespace 0) of the objects that have it; empty when `applies` decides.
        methods: numeric ids that call it: that of the instance's method and that of its type.
        call: does it; for methods with `objects`.
        applies: for methods of many objects (conditions): whether ObjectId and MethodId are such a pair.
        instance_call: does it on an object; for methods with `applies`.
        anybody: needs no right beyond an activated session (the call looks at rights itself).
        encrypted: answers BadSecurityModeInsufficient on channels that do not encrypt.
    """

    spec: MethodSpec
    objects: frozenset[int] = frozenset()
    methods: frozenset[int] = frozenset()
    call: Call | None = None
    applies: Applies | None = None
    instance_call: InstanceCall | None = None
    anybody: bool = False
    encrypted: bool = False

    async def run(self, server: InternalServer, session: Session, target: Any, arguments: Sequence[Any]) -> Results:
        """Do it on `target` (ObjectId)."""
        if self.instance_call is not None:
            return await self.instance_call(server, session, target, arguments)
        if self.call is None:
            return int(ua.StatusCodes.BadNotImplemented), ()
        return await self.call(server, session, arguments)

    def refusal(self, session: Session) -> int:
        """0 when the session's caller may call it on its channel, else the StatusCode."""
        processor = session.processor
        if self.encrypted and (processor is None or not processor.encrypted):
            return int(ua.StatusCodes.BadSecurityModeInsufficient)
        if not self.anybody and not session.rights.allows(self.spec.right, ""):
            return int(ua.StatusCodes.BadUserAccessDenied)
        return 0


class StandardMethods:
    """The registry of one server, `server.standard_methods`."""

    def __init__(self) -> None:
        self._by_ids: dict[tuple[int, int], StandardMethod] = {}
        self._by_method: dict[int, StandardMethod] = {}
        self._of_instances: list[StandardMethod] = []

    def register(self, method: StandardMethod) -> None:
        """Offer a method from now on.

        Raises:
            ValueError: when somebody else offers it already.
        """
        for target in method.objects:
            for number in method.methods:
                if (target, number) in self._by_ids:
                    raise ValueError(f"method i={number} of i={target} is offered twice")
                self._by_ids[target, number] = method
        for number in method.methods:
            self._by_method.setdefault(number, method)
        if method.applies is not None:
            self._of_instances.append(method)

    def find(self, server: InternalServer, object_id: Any, method_id: Any) -> StandardMethod | None:
        """The method that a call names by its asyncua NodeIds; None when nobody offers it."""
        if object_id.NamespaceIndex == 0 and method_id.NamespaceIndex == 0:
            found = self._by_ids.get((object_id.Identifier, method_id.Identifier))
            if found is not None:
                return found
        for each in self._of_instances:
            if each.applies is not None and each.applies(server, object_id, method_id):
                return each
        return None

    def of(self, method_id: Any) -> StandardMethod | None:
        """What the method node stands for (Executable, UserExecutable); None when nobody offers it."""
        return self._by_method.get(method_id.Identifier) if method_id.NamespaceIndex == 0 else None
