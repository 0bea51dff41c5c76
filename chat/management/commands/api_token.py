"""``manage.py api_token``: make, list and revoke API tokens.

token=$(manage.py api_token create ann --name backup --days 90)
manage.py api_token list ann
manage.py api_token revoke rejoin_Ab3dE6gH
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat import guests, tokens
from chat.errors import RateLimited
from chat.models import ApiToken


class Command(BaseCommand):
    help = "Makes, lists and revokes API tokens."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="Print a new token, and nothing else. It is not shown again.")
        create.add_argument("username")
        create.add_argument("--name", required=True, help="What will use it.")
        create.add_argument("--days", type=int, help="How long it stands. Without: until it is revoked.")
        listing = verbs.add_parser("list", help="What there is, newest first: no token can be had from it.")
        listing.add_argument("username", nargs="?")
        revoke = verbs.add_parser("revoke", help="Let a token open nothing from now on.")
        revoke.add_argument("prefix", help=f"What it begins with: its first {tokens.SHOWN} characters, or all of it.")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        if verb == "create":
            self._create(options["username"], options["name"], options["days"])
        elif verb == "list":
            self._list(options["username"])
        else:
            self._revoke(options["prefix"])

    def _create(self, username: str, name: str, days: int | None) -> None:
        user = _user(username)
        if guests.is_guest(user):
            raise CommandError("A guest can have no tokens.")
        if not 1 <= len(name) <= 100:
            raise CommandError("A name has 1 to 100 characters.")
        if days is not None and not 1 <= days <= 36_500:
            raise CommandError("Days are 1 to 36,500.")
        try:
            self.stdout.write(tokens.make(user.pk, name, None if days is None else timedelta(days=days)))
        except RateLimited as error:
            raise CommandError(error.message) from None

    def _list(self, username: str | None) -> None:
        found = ApiToken.objects.select_related("user")
        if username is not None:
            found = found.filter(user=_user(username).pk)
        for token in found:
            whose = token.user.get_username()
            times = f"made {_day(token.created_at)}, used {_day(token.last_used_at)}, until {_day(token.expires_at)}"
            self.stdout.write(f"{token.prefix}  {token.state:<8}  {times}  {whose}  {token.name}")

    def _revoke(self, prefix: str) -> None:
        if len(prefix) < tokens.SHOWN:
            raise CommandError(f"Say its first {tokens.SHOWN} characters: manage.py api_token list shows them.")
        if not tokens.revoke(ApiToken.objects.filter(prefix=prefix[: tokens.SHOWN])):
            raise CommandError("There is no such token, or it was revoked before.")


def _user(username: str) -> Any:
    users: Any = get_user_model()._default_manager
    try:
        return users.get_by_natural_key(username)
    except get_user_model().DoesNotExist:
        raise CommandError(f"There is no user {username!r}.") from None


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else "–"
