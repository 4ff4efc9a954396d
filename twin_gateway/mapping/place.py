"""Completing addresses: grid, place, at-key and point key become one canonical address that the catalogue knows."""

from __future__ import annotations

from address_space import catalogue
from address_space.address import MAX_LENGTH, AddressError, FunctionName, check_name, function_name, is_terminal, parse
from address_space.catalogue import CatalogueError, PointClass
from twin_gateway.mapping.problem import did_you_mean

_LEVELS = 6
_CACHED = 50_000
_FUNCTION_HINT = "prefix, four capital letters, number, as in 'MMXU1'"


class PlaceError(ValueError):
    """A place or point key is wrong; `code` is that of the problem."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class Places:
    """Completes addresses and remembers what it has seen, for one check."""

    def __init__(self) -> None:
        self._good: set[str] = set()
        self._heads: dict[tuple[tuple[str, ...], str], str] = {}
        self._tails: dict[str, PointClass] = {}
        self._names: dict[str, FunctionName | None] = {}
        self._alike: dict[PointClass, PointClass] = {}
        self._classes: dict[tuple[str, str], PointClass | PlaceError] = {}

    def check_level(self, segment: str, what: str) -> None:
        """Check one level name; raises PlaceError."""
        if segment in self._good:
            return
        try:
            check_name(segment, what)
        except AddressError as error:
            raise PlaceError("TG401", str(error)) from error
        self._good.add(segment)

    def base(self, grid: str, place: str) -> tuple[str, ...]:
        """Levels 1-3 from the grid and `area/site`, with fillers for what is not said.

        Raises:
            PlaceError: when a level breaks the grammar or there are too many.
        """
        self.check_level(grid, "grid")
        levels = place.split("/")
        if len(levels) > 2:
            raise PlaceError(
                "TG402", f"place '{place}' has more than area and site", "levels 4 to 6 go into the keys of 'at'"
            )
        for segment, what in zip(levels, ("area", "site"), strict=False):
            if segment != "_":
                self.check_level(segment, what)
        return (grid, *levels, *("_",) * (2 - len(levels)))

    def at(self, base: tuple[str, ...], key: str) -> tuple[str, ...]:
        """Levels 1 to 4, 5 or 6 from levels 1-3 and an at-key.

        Raises:
            PlaceError: as `base`.
        """
        levels = key.split("/")
        if len(levels) > 3:
            raise PlaceError(
                "TG402", f"'{key}' has more than three levels", "an at-key is voltage level, bay, equipment"
            )
        if levels[-1] == "_":
            raise PlaceError("TG401", f"'{key}' ends in '_'", "write _ only for a level that is missing in the middle")
        for segment, what in zip(levels, ("voltage level", "bay", "equipment"), strict=False):
            if segment != "_":
                self.check_level(segment, what)
        return (*base, *levels)

    def function(self, levels: tuple[str, ...], key: str) -> str:
        """The address of a function `MMXU2` or `QA1/XCBR1` below a place.

        Raises:
            PlaceError: when the key is no function, or has too many levels.
        """
        *own, function = key.split("/")
        if self._name(function) is None:
            raise PlaceError("TG401", f"'{function}' is no function", _FUNCTION_HINT)
        for segment in own:
            if segment != "_":
                self.check_level(segment, "equipment")
        return "/".join((*self._filled(levels, own, key, function), function))

    def complete(self, levels: tuple[str, ...], key: str) -> tuple[str, str, PointClass]:
        """The canonical address of a point key below a place of 3 to 6 levels, its function and data object, its class.

        Raises:
            PlaceError: when the key breaks the grammar, does not fit the place, or is not in the catalogue.
        """
        # The last two segments, else three, are nearly always function and data object, seen before elsewhere.
        above, _, last = key.rpartition("/")
        head, _, middle = above.rpartition("/")
        tail = f"{middle}/{last}"
        point_class = self._tails.get(tail)
        if point_class is None and head:
            head, _, function = head.rpartition("/")
            tail = f"{function}/{tail}"
            point_class = self._tails.get(tail)
        place = self._heads.get((levels, head))
        if point_class is None or place is None:
            place, head, tail, point_class = self._take_apart(levels, key)
            if len(self._heads) < _CACHED and len(self._tails) < _CACHED:
                self._heads[levels, head] = place
                self._tails[tail] = point_class
        address = place + tail
        if len(address) > MAX_LENGTH:
            raise PlaceError("TG402", f"the address has {len(address)} characters, more than {MAX_LENGTH}")
        return address, tail, point_class

    def _take_apart(self, levels: tuple[str, ...], key: str) -> tuple[str, str, str, PointClass]:
        """Place with fillers and a slash behind it, the key's own place levels, the rest of the key, and its class."""
        segments = key.split("/")
        if "" in segments:
            raise PlaceError("TG401", f"'{key}' has an empty segment")
        if len(levels) == _LEVELS and (self._name(segments[0]) is not None or is_terminal(segments[0])):
            at = 0
        else:
            at = self._function_index(key, segments)
        own, function, path = segments[:at], segments[at], segments[at + 1 :]
        for segment in own:
            if segment != "_":
                self.check_level(segment, "equipment" if len(own) == 1 else "place level")
        name = self._name(function)
        if name is None:
            if is_terminal(function):
                raise PlaceError("TG404", f"'{function}' is a terminal: it has no value")
            raise PlaceError("TG401", f"'{function}' is no function", _FUNCTION_HINT)
        if not path:
            raise PlaceError("TG404", f"'{key}' names no data object", f"as in '{key}/Beh'")
        point_class = self._classify(name.ln_class, path)
        place = "/".join(self._filled(levels, own, key, function))
        return f"{place}/", "/".join(own), "/".join(segments[at:]), point_class

    @staticmethod
    def _filled(levels: tuple[str, ...], own: list[str], key: str, function: str) -> tuple[str, ...]:
        """Six place levels; those missing between the at-key and the equipment are fillers."""
        missing = _LEVELS - len(levels) - len(own)
        if missing < 0:
            raise PlaceError("TG402", f"'{key}' has {-missing} level(s) too many below '{'/'.join(levels)}'")
        if missing == 0 or len(own) <= 1:
            return (*levels, *("_",) * missing, *own)
        example = "/".join((*own, *("_",) * missing, function))
        raise PlaceError(
            "TG403", f"it is not clear which levels '{'/'.join(own)}' are", f"write all, as in '{example}'"
        )

    def _name(self, segment: str) -> FunctionName | None:
        """The function name taken apart; segments repeat a lot."""
        try:
            return self._names[segment]
        except KeyError:
            found = self._names[segment] = function_name(segment)
            return found

    def _function_index(self, key: str, segments: list[str]) -> int:
        """Where the function stands; a class that the catalogue knows wins over a name of the same form."""
        shaped = [i for i, segment in enumerate(segments) if i <= 3 and self._name(segment) is not None]
        if not shaped:
            ends = next((i for i, s in enumerate(segments) if s[:4].isupper() and len(s) >= 4), None)
            what = segments[ends] if ends is not None else segments[-2] if len(segments) > 1 else key
            hint = "prefix, four capital letters, number, then the data object, as in 'MMXU1/TotW'"
            raise PlaceError("TG401", f"'{what}' is no function", hint)
        if len(shaped) == 1:
            return shaped[0]
        known = [i for i in shaped if i + 1 < len(segments) and self._known(segments[i], segments[i + 1])]
        if len(known) == 1:
            return known[0]
        if len(shaped) > 1 and not known:
            # No data object tells them apart, but perhaps only one is a class at all.
            classes = [i for i in shaped if (name := self._name(segments[i])) and catalogue.data_objects(name.ln_class)]
            if len(classes) == 1:
                return classes[0]
        first = segments[shaped[0]]
        raise PlaceError(
            "TG403",
            f"it is not clear whether '{first}' is the equipment or the function",
            f"write the equipment into the key of 'at', or '_' for the missing levels before '{first}'",
        )

    @staticmethod
    def _known(function: str, data_object: str) -> bool:
        name = function_name(function)
        if name is None:
            return False
        objects = catalogue.data_objects(name.ln_class)
        return data_object in objects or data_object.rstrip("0123456789") in objects

    def _classify(self, ln_class: str, path: list[str]) -> PointClass:
        text = "/".join(path)
        found = self._classes.get((ln_class, text))
        if found is None:
            try:
                found = _classify(ln_class, path)
            except PlaceError as error:
                found = error
            if not isinstance(found, PlaceError):
                # Alike classes become one object, so that their points share profiles.
                found = self._alike.setdefault(found, found)
            self._classes[ln_class, text] = found
        if isinstance(found, PlaceError):
            raise found
        return found


def _classify(ln_class: str, path: list[str]) -> PointClass:
    data_object = path[0]
    objects = catalogue.data_objects(ln_class)
    if not objects:
        raise PlaceError(
            "TG405",
            f"no logical-node class '{ln_class}' in the catalogue",
            did_you_mean(ln_class, catalogue.ln_classes()),
        )
    if data_object not in objects and data_object.rstrip("0123456789") not in objects:
        raise PlaceError("TG405", f"{ln_class} has no data object '{data_object}'", did_you_mean(data_object, objects))
    try:
        # Any function of the class will do: the catalogue goes by class and data object.
        function = ln_class if ln_class == "LLN0" else f"{ln_class}1"
        point_class = catalogue.classify(parse(f"g/a/s/v/b/e/{function}/{'/'.join(path)}"))
    except AddressError as error:
        raise PlaceError("TG401", str(error)) from error
    except CatalogueError as error:
        raise PlaceError("TG405", str(error)) from error
    if point_class.cdc.container:
        parts = [name for name, _ in point_class.cdc.children]
        raise PlaceError(
            "TG409",
            f"{'/'.join(path)} is a {point_class.cdc.name}: it has no value of its own",
            f"name its parts, as in '{'/'.join(path)}/{parts[0]}'",
        )
    return point_class
