"""`ostiary serve` and the processes it runs beside itself."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agi_server.cli.context import settings_of
from agi_server.logs import configure_logs
from agi_server.loop import new_event_loop


def serve(ctx: typer.Context) -> None:
    """Answer the PBX; starts and supervises everything else."""
    settings = settings_of(ctx)
    configure_logs(settings.logs)
    from agi_server.app import serve_until_stopped  # noqa: PLC0415  # the worker does without

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve_until_stopped(settings, config=ctx.obj))


def worker(
    ctx: typer.Context, descriptor: Annotated[int, typer.Argument(help="The socket of the journal.")]
) -> None:
    """Write what `serve` hands over; started by `serve`."""
    settings = settings_of(ctx)
    log = configure_logs(settings.logs)
    from agi_server.worker import main  # noqa: PLC0415  # the server does without

    main(settings, descriptor, close_log=log.close)


def front(
    ctx: typer.Context,
    descriptor: Annotated[int, typer.Argument(help="The socket to `serve`.")],
    listening: Annotated[list[int] | None, typer.Argument(help="Sockets that listen for HTTP.")] = None,
) -> None:
    """Serve HTTP and publish events; started by `serve`."""
    settings = settings_of(ctx)
    log = configure_logs(settings.logs)
    from agi_server.front import main  # noqa: PLC0415  # the server does without

    main(settings, descriptor, listening or [], close_log=log.close)
