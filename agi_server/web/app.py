"""The whole HTTP side: one application made of the API, the console, phone books, health and metrics."""

from __future__ import annotations

from fastapi import FastAPI

from agi_server import __version__
from agi_server.web import health
from agi_server.web.api import (
    agents,
    audit,
    blacklist,
    callers,
    calls,
    chats,
    contacts,
    decisions,
    dials,
    dids,
    events,
    outbox,
    settings,
    sync,
    tokens,
    trials,
    users,
)
from agi_server.web.api.answers import describe_problems
from agi_server.web.console import agents as agents_pages
from agi_server.web.console import audit as audit_pages
from agi_server.web.console import blacklist as blacklist_pages
from agi_server.web.console import call_back, live, log_in, my_calls, recordings, statics, statistics
from agi_server.web.console import calls as calls_pages
from agi_server.web.console import contacts as contacts_pages
from agi_server.web.console import dial as dial_pages
from agi_server.web.console import dids as dids_pages
from agi_server.web.console import health as health_pages
from agi_server.web.console import outbox as outbox_pages
from agi_server.web.console import salesforce as salesforce_pages
from agi_server.web.console import settings as settings_pages
from agi_server.web.console import trial as trial_pages
from agi_server.web.console import users as users_pages
from agi_server.web.counting import count_requests
from agi_server.web.headers import send_headers
from agi_server.web.limits import limit_bodies
from agi_server.web.phonebooks import routes as phonebooks
from agi_server.web.problems import answer_with_problems
from agi_server.web.services import Services

API = (
    decisions,
    callers,
    contacts,
    calls,
    dials,
    chats,
    blacklist,
    agents,
    dids,
    outbox,
    sync,
    settings,
    trials,
    events,
    audit,
    users,
    tokens,
)
CONSOLE = (
    live,
    my_calls,
    recordings,
    log_in,
    calls_pages,
    dial_pages,
    call_back,
    statistics,
    blacklist_pages,
    contacts_pages,
    agents_pages,
    dids_pages,
    trial_pages,
    settings_pages,
    salesforce_pages,
    outbox_pages,
    health_pages,
    users_pages,
    audit_pages,
    statics,
)


def create_app(services: Services) -> FastAPI:
    """Return the application; every request finds `services` at `request.app.state.services`."""
    app = FastAPI(
        title="Ostiary",
        version=__version__,
        description="Who is calling, may they come in, and whom did they come to see?",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # they load scripts from other hosts
        redoc_url=None,
    )
    app.state.services = services
    for module in API:  # each on its own: of a router of routers FastAPI walks through all for every request
        app.include_router(module.router, prefix="/api/v1")
    for module in (health, phonebooks):
        app.include_router(module.router)
    for module in CONSOLE:
        app.include_router(module.router, include_in_schema=False)
    answer_with_problems(app)
    describe_problems(app)
    send_headers(app)
    limit_bodies(app)
    count_requests(app, services.counts)
    return app
