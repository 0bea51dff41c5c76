"""API tokens: how a program acts for a user. The account page and ``manage.py api_token`` make and revoke them, and
chat.identity asks here who brings one.

A token is 256 random bits. Nobody can guess one, so its digest needs neither salt nor a slow hash. The database finds
a digest by an index, and the time this takes may tell something about the digests that are there. That is safe: nobody
can make a token that has a given digest.
"""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from hashlib import sha256
from typing import Any

from django.db.models import Q
from django.utils import timezone

from chat.errors import RateLimited
from chat.models import ApiToken, ApiTokenQuerySet

BEGINS = "rejoin_"
"""With this every token begins, so that scanners for secrets can tell one."""
FORM = re.compile(BEGINS + "[A-Za-z0-9_-]{43}", re.ASCII)
SHOWN = len(BEGINS) + 8
"""Characters that are kept to know a token by. The rest alone can't be guessed."""
MAX_TOKENS = 50
"""Tokens of one user that stand."""
NOTED = timedelta(minutes=1)
"""A use is noted when the last note is older."""
KEPT = timedelta(days=90)
"""How long a token that was revoked, or has expired, can be looked up."""


def make(user_id: Any, name: str, lifetime: timedelta | None) -> str:
    """A new token of the user's. What is returned is kept nowhere: show it once. Without ``lifetime`` it stands until
    it is revoked. Raises RateLimited when the user has MAX_TOKENS."""
    if ApiToken.objects.standing().filter(user=user_id).count() >= MAX_TOKENS:
        raise RateLimited(f"{MAX_TOKENS} tokens are all that one may have. Revoke one first.")
    token = BEGINS + secrets.token_urlsafe(32)
    expires_at = None if lifetime is None else timezone.now() + lifetime
    ApiToken.objects.create(
        user_id=user_id, name=name, prefix=token[:SHOWN], digest=_digest(token), expires_at=expires_at
    )
    return token


def use(token: str) -> Any | None:
    """The user for whom the token stands, and its use is noted. None, and nothing is written, for anything else: one
    that is malformed, unknown, revoked or expired, or whose user may not sign in."""
    if not FORM.fullmatch(token):  # which costs no query
        return None
    found = ApiToken.objects.standing().select_related("user").filter(digest=_digest(token)).first()
    if found is None or not found.user.is_active:
        return None
    now = timezone.now()
    if found.last_used_at is None or found.last_used_at < now - NOTED:
        ApiToken.objects.filter(pk=found.pk).update(last_used_at=now)
    return found.user


def of_user(user_id: Any) -> ApiTokenQuerySet:
    """The user's tokens that were not revoked, newest first; the expired ones among them."""
    return ApiToken.objects.filter(user=user_id, revoked_at=None)


def revoke(tokens: ApiTokenQuerySet) -> int:
    """From now on they open nothing, and what is open by them closes within a minute. Returns how many were not
    revoked before."""
    return tokens.filter(revoked_at=None).update(revoked_at=timezone.now())


def remove_old() -> None:
    """Delete the tokens that were revoked, or have expired, more than KEPT ago."""
    limit = timezone.now() - KEPT
    ApiToken.objects.filter(Q(revoked_at__lt=limit) | Q(expires_at__lt=limit)).delete()


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
