"""The farm that a command speaks to, and the group that turns errors into exit status."""

import click

from app.cli.exits import Exit, report
from app.client import Farm
from app.errors import OpsfarmError
from tool_catalog.model import CatalogError


def open_farm() -> Farm:
    """The farm of this command; its connections end with the command."""
    farm: Farm = click.get_current_context().with_resource(Farm())
    return farm


class OpsfarmGroup(click.Group):
    """A group whose commands may raise the project's errors."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error of ours becomes words and an exit status."""
        try:
            return super().invoke(ctx)
        except (OpsfarmError, CatalogError) as error:
            return ctx.exit(report(error))
        except KeyboardInterrupt:
            return ctx.exit(Exit.INTERRUPTED)
