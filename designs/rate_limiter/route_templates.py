"""Which route template a request is for, before the framework has routed it.

A limit on paths would be none: each id is a path of its own, and each made-up path too. So a request counts for the template that
will answer it, such as "/items/{id}", and for "unmatched" when none will (404s are the cheapest way to look for what is there).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute, Host, Match, Mount
from starlette.types import Scope

from designs.building_blocks.telemetry import UNMATCHED

Routes: TypeAlias = Sequence[BaseRoute]
MAX_MOUNTS = 8  # mounts inside mounts that are looked into


@dataclass(frozen=True, slots=True)
class _Entry:
    """A route with the prefixes of the routers that include it in `template`; `inside` of a mount are its own routes."""

    template: str
    matches: Callable[[Scope], tuple[Match, Scope]]
    inside: RouteTemplates | None


class RouteTemplates:
    """The templates of an application. `routes()` is the live list of its routes.

    They are read at the first request, and again when the list has another length or other ends: a route that is added later to a
    router that was included before is "unmatched". Memory is bounded by the routes; nothing is kept of requests.
    """

    def __init__(self, routes: Callable[[], Routes], depth: int = MAX_MOUNTS) -> None:
        self._routes = routes
        self._depth = depth
        self._entries: list[_Entry] = []
        self._seen: tuple[int, ...] = ()

    def template_of(self, scope: Scope) -> str:
        """The template of the first route that matches, else of the first that would with another method (a 405).

        `scope` of type "http" or "websocket", with the root path that the framework will see. It is not changed.
        """
        try:
            return self._template_of(scope)
        except ValueError:  # a converter can't read it (int() refuses a few thousand digits): the framework can't either
            return UNMATCHED

    def _template_of(self, scope: Scope) -> str:
        other_method = ""
        for entry in self._current():
            match, child_scope = entry.matches(scope)
            if match is Match.NONE:
                continue
            template = entry.template
            if entry.inside is not None:
                within = entry.inside._template_of({**scope, **child_scope})
                # A mount takes all of its prefix, so what is not inside it is nowhere.
                return within if within == UNMATCHED else template + within
            if match is Match.FULL:
                return template
            other_method = other_method or template
        return other_method or UNMATCHED

    def _current(self) -> list[_Entry]:
        routes = self._routes()
        seen = (len(routes), id(routes[0]), id(routes[-1])) if routes else (0,)
        if seen != self._seen:
            self._entries, self._seen = list(self._read(routes)), seen
        return self._entries

    def _read(self, routes: Routes) -> Iterator[_Entry]:
        for found in iter_route_contexts(routes):
            template, inside = str(found.path or ""), None
            if isinstance(found.original_route, Mount | Host):
                if found.routes and self._depth:
                    inside = RouteTemplates(_inside(found), self._depth - 1)
                else:
                    template += "/{path}"  # an application that shows no routes, such as a folder of files
            yield _Entry(template, found.matches, inside)


def _inside(found: RouteContext) -> Callable[[], Routes]:
    # Of the route that matches: in an included router that is a copy with the router's prefix.
    return lambda: found.routes


def routes_of(app: Any) -> Callable[[], Routes]:
    """The live routes of a Starlette or FastAPI application; none of anything else, so that all of it is "unmatched"."""
    return lambda: getattr(app, "routes", ())
