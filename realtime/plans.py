"""Which accounts there are to be, and what the settings may not ask for.

Rules of this file: (1) what is unsafe or not there refuses the start and names the setting; (2) nothing is opened here.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from realtime.branch import EMBEDDED, Plan, RefusedStart
from realtime.desk.notices import Login
from realtime.makers import on_prices_of, paper, trading_at
from realtime.model.errors import Refused
from realtime.outside import Outside
from realtime.settings import Settings
from realtime.venues.ccxt import keys
from realtime.venues.ccxt.account import Account, Secret
from realtime.venues.ccxt.redaction import Redaction


PAPER: Final = "paper"
"""The exchange that is ours."""


def check(settings: Settings) -> None:
    """Refuse what is not safe (reliability document, 5.1).

    Raises:
        RefusedStart: With the setting to change.
    """
    if settings.mode == "live":
        if settings.auth.insecure_i_know:
            raise RefusedStart(
                "auth.insecure_i_know: mode live does not allow access without a token; remove it"
            )
        if not settings.auth_required:
            raise RefusedStart(
                "auth.required: mode live requires a token from every client, also on loopback; remove it"
            )
    exposed = not settings.loopback and not settings.auth_required
    if exposed and not settings.auth.insecure_i_know:
        raise RefusedStart(
            f"server.host {settings.server.host} is not loopback and auth.required is false: "
            "anyone could trade; remove auth.required, or bind 127.0.0.1"
        )
    login_of(settings)


def accounts(settings: Settings) -> tuple[Account, ...]:
    """Make the accounts at exchanges that the settings name, with their keys read.

    Raises:
        RefusedStart: With the setting to change.
    """
    try:
        return tuple(keys.account_of(venue) for venue in settings.venues)
    except Refused as error:
        raise RefusedStart(error.message) from error


def redaction(settings: Settings) -> Redaction:
    """Make what takes the secrets of the settings out of texts.

    Raises:
        RefusedStart: With the setting to change.
    """
    found = [secret for account in accounts(settings) for secret in account.secrets]
    return Redaction([*found, Secret(login_of(settings).password)])


def login_of(settings: Settings) -> Login:
    """Say who sends mail, with the password read.

    Raises:
        RefusedStart: With the setting to change.
    """
    given = settings.smtp
    text, path = given.password.get_secret_value().strip(), given.password_file
    if text and path:
        raise RefusedStart("smtp.password: is set twice, also as password_file; remove one")
    if path:
        try:
            text = keys.read(Path(path), "smtp.password_file").reveal()
        except Refused as error:
            raise RefusedStart(error.message) from error
    return Login(user=given.user, password=text)


def plans_of(settings: Settings, outside: Outside) -> list[Plan]:
    """Say which accounts there are to be, the first one first.

    Raises:
        RefusedStart: With the setting to change.
    """
    live = settings.mode == "live"
    found = [plan_of(account, live=live) for account in accounts(settings)]
    if not found and live:
        raise RefusedStart(
            "venues: mode live trades at a real exchange, and none is named; "
            "give one with its keys, as in [[venues]] id = 'kraken' key_file = '...' secret_file = '...'"
        )
    if outside.venue is not None:
        return [Plan(make=outside.venue, source=outside.source, live=live)]
    if not found:
        source = settings.paper.source
        on_prices = partial(on_prices_of, Account(id="paper", exchange=source))
        found = [
            Plan(make=paper) if source == EMBEDDED else Plan(make=on_prices, source=source),
        ]
    return [
        replace(plan, make=outside.makers.get(plan.id, plan.make), first=number == 0)
        for number, plan in enumerate(found)
    ]


def plan_of(account: Account, *, live: bool) -> Plan:
    """Say what is to become of an account of the settings: paper on its prices, or real trading.

    Raises:
        RefusedStart: It cannot be what the mode says.
    """
    setting = f"venues.{account.id}"
    if account.exchange == PAPER:
        if live:
            raise RefusedStart(
                f"{setting}.exchange: paper is not a real exchange, and mode is live"
            )
        return Plan(id=account.id, make=paper)
    if not live:
        make = partial(on_prices_of, account)
        return Plan(id=account.id, make=make, source=account.exchange, keys=account.has_keys)
    if not account.has_keys:
        raise RefusedStart(
            f"{setting}.key: mode live needs the keys of {account.exchange}, and there are none"
        )
    return Plan(
        id=account.id, make=partial(trading_at, account), source=account.exchange, live=True
    )
