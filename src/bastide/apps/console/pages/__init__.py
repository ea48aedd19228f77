"""The console's pages."""

from bastide.apps.console.service import Console
from bastide.base.gate import operator
from bastide.base.html.pages import Pages
from bastide.base.routes.rows import Reply, Request, route


async def show_town(console: Console, request: Request, pages: Pages) -> Reply:
    return pages.reply("town.html", request, health=await console.town.health())


ROWS = (route("GET", "/", show_town, allow=operator, html=True),)
