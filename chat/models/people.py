"""What belongs to a user: the inbox, API tokens, the commands that were done; and who is a guest."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from chat.models.timestamped import Timestamped

User = AbstractBaseUser
"""What a verb is given as its user: any row of AUTH_USER_MODEL."""


class InboxQuerySet(models.QuerySet["Inbox"]):
    def lock(self, user_id: Any) -> None:
        """Until the transaction ends, whoever counts the user's runs waits. (A thread's lock is taken before this.)"""
        self.select_for_update().filter(user=user_id).first()

    def raise_version(self, user_id: Any) -> int:
        """The user's next version; the inbox's row stays locked until the transaction ends."""
        if not self.filter(user=user_id).update(version=F("version") + 1):
            self.get_or_create(user_id=user_id)
            self.filter(user=user_id).update(version=F("version") + 1)
        return self.values_list("version", flat=True).get(user=user_id)


class Inbox(Timestamped):
    """One user's list of threads; its version rises by one for every change of an item."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="inbox"
    )
    version = models.PositiveBigIntegerField(default=0)

    objects = InboxQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "inboxes"

    def __str__(self) -> str:
        return f"inbox of {self.user_id}"


class Guest(Timestamped):
    """Marks a user row that was made at a stranger's first visit and belongs to one session."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="guest"
    )

    def __str__(self) -> str:
        return f"guest {self.user_id}"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def standing(self) -> ApiTokenQuerySet:
        """Those that open something: neither revoked nor expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)


class ApiToken(Timestamped):
    """Lets a program act for a user. The token itself is nowhere: it is found by its digest, and known to people by
    its name and by what it begins with. Revoked or expired it stays for a while, to be looked up."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=20, db_index=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    """SHA-256, in hexadecimal."""
    last_used_at = models.DateTimeField(null=True, blank=True)
    """To the minute."""
    expires_at = models.DateTimeField(null=True, blank=True)
    """Null: never."""
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= timezone.now() else "standing"


class Command(Timestamped):
    """A command that was done, by (user, id): given again, it changes nothing and gets this reply."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    command = models.UUIDField()
    type = models.CharField(max_length=20)
    thread = models.UUIDField(null=True)
    """What it was done to, whether that is still there or not. Null: a server of the version before has done it."""
    reply = models.JSONField(default=dict)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "command"], name="command_once")]
        indexes = [models.Index(fields=["created_at"])]

    def __str__(self) -> str:
        return f"{self.type} {self.command}"
