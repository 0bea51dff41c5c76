"""Threads and their messages: the tree, its paths, and the head that says which one is shown."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import connections, models
from django.db.models import Exists, F, OuterRef, Q

from chat import errors
from chat.models.people import Inbox
from chat.models.timestamped import Timestamped
from chat.protocol import WINDOW


class ThreadQuerySet(models.QuerySet["Thread"]):
    def alive(self) -> ThreadQuerySet:
        """Those that were not deleted."""
        return self.filter(deleted_at=None)

    def with_status(self) -> ThreadQuerySet:
        """Annotated with ``is_running`` and ``is_queued``."""
        from chat.models.runs import Run  # which are of threads, and so come after them

        runs = Run.objects.filter(thread=OuterRef("pk"))
        return self.annotate(
            is_running=Exists(runs.filter(state=Run.State.RUNNING)),
            is_queued=Exists(runs.filter(state=Run.State.QUEUED)),
        )


class Thread(Timestamped):
    """One conversation, owned by one user. Once deleted it stays as an empty tombstone, so that inboxes learn of it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="threads")
    version = models.PositiveBigIntegerField(default=0)
    title = models.CharField(max_length=200, blank=True)
    model = models.CharField(max_length=200, blank=True)
    system_prompt = models.TextField(blank=True)
    archived = models.BooleanField(default=False)
    pinned = models.BooleanField(default=False)
    head = models.ForeignKey("Message", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    row_version = models.PositiveBigIntegerField(default=0)
    """The version at which a field of this row itself last changed."""
    inbox_version = models.PositiveBigIntegerField(default=0)
    """The inbox's version at which this thread's item last changed."""
    answered_version = models.PositiveBigIntegerField(default=0)
    """The version at which the newest answer ended …"""
    read_version = models.PositiveBigIntegerField(default=0)
    """… and the one up to which its owner has read: unread while this is lower."""
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = ThreadQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["owner", "inbox_version"]),
            models.Index(fields=["owner", "-updated_at"]),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(row_version__lte=F("version")), name="thread_row_version_not_ahead"),
        ]

    def __str__(self) -> str:
        return self.title or str(self.pk)

    @property
    def unread(self) -> bool:
        return self.answered_version > self.read_version

    def show(self, head: uuid.UUID) -> None:
        """Moves the head to another path (saved by the caller). Whoever holds only the end of the path that was shown
        lacks the end of this one: those rows have changed too."""
        held = {message.pk for message in Message.objects.outline(self.head_id)}
        lacked = [row for row in Message.objects.outline(head, WINDOW) if row.pk not in held]
        # The runs first: a checkpoint, which does not lock the thread, writes in this order.
        self.runs.filter(pk__in=[row.run_id for row in lacked]).update(version=self.version)
        Message.objects.filter(pk__in=[row.pk for row in lacked]).update(version=self.version)
        self.head_id, self.row_version = head, self.version

    def settle_head(self, prompt: Message) -> None:
        """A run has ended. If it has put nothing after its prompt, the newest answer that is there is shown again."""
        if self.head_id == prompt.pk and (tip := Message.objects.tip(prompt.pk)) != prompt.pk:
            self.show(tip)

    def touch_item(self) -> None:
        """Its item in the inbox has changed: gives it the inbox's next version (saved by the caller)."""
        self.inbox_version = Inbox.objects.raise_version(self.owner_id)


class MessageQuerySet(models.QuerySet["Message"]):
    def placed(self) -> MessageQuerySet:
        """Those that have a place in the tree: neither queued nor taken back."""
        return self.exclude(status__in=Message.UNPLACED)

    def path(self, head: uuid.UUID | None, limit: int | None = None) -> list[Message]:
        """The ancestors of ``head`` and itself, oldest first; with ``limit`` only the last so many. One query."""
        return self._path(head, limit, "m.*")

    def outline(self, head: uuid.UUID | None, limit: int | None = None) -> list[Message]:
        """The same path with id, parent and run only."""
        return self._path(head, limit, "m.id, m.parent_id, m.run_id")

    def sizes(self, head: uuid.UUID) -> list[tuple[uuid.UUID, int]]:
        """The ids of the whole path, each with the bytes of its text: none of them is read."""
        sqlite = _connection(self).vendor == "sqlite"
        octets = "LENGTH(CAST(m.text AS BLOB))" if sqlite else "OCTET_LENGTH(m.text)"
        return [(row.pk, row.octets) for row in self._path(head, None, f"m.id, {octets} AS octets")]  # type: ignore[attr-defined]

    def _path(self, head: uuid.UUID | None, limit: int | None, columns: str) -> list[Message]:
        if head is None:
            return []
        table = Message._meta.db_table
        rows = self.raw(
            f"WITH RECURSIVE path(id, depth) AS (SELECT id, 1 FROM {table} WHERE id = %s UNION ALL "
            f"SELECT m.parent_id, path.depth + 1 FROM {table} m JOIN path ON m.id = path.id "
            "WHERE m.parent_id IS NOT NULL AND path.depth < %s) "
            f"SELECT {columns} FROM {table} m JOIN path ON m.id = path.id ORDER BY path.depth DESC",
            [Message._meta.pk.get_db_prep_value(head, _connection(self)), limit or 1_000_000],
        )
        return list(rows)

    def below(self, top: uuid.UUID) -> list[Message]:
        """``top`` and all its descendants, oldest first, with id and parent only. One query."""
        table = Message._meta.db_table
        rows = self.raw(
            f"WITH RECURSIVE below(id) AS (SELECT id FROM {table} WHERE id = %s UNION ALL "
            f"SELECT m.id FROM {table} m JOIN below ON m.parent_id = below.id) "
            f"SELECT m.id, m.parent_id FROM {table} m JOIN below ON m.id = below.id "
            "ORDER BY m.placed, m.created_at, m.id",
            [Message._meta.pk.get_db_prep_value(top, _connection(self))],
        )
        return list(rows)

    def tip(self, top: uuid.UUID) -> uuid.UUID:
        """The end of the newest path through ``top``: down its newest children. One query."""
        newest = {row.parent_id: row.pk for row in self.below(top)}
        while top in newest:
            top = newest[top]
        return top


def _connection(queryset: models.QuerySet[Any]) -> Any:
    return connections[queryset.db]


class Message(Timestamped):
    """One node of a thread's tree. Nothing is ever overwritten: an edit or a new answer is a sibling."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    class Status(models.TextChoices):
        QUEUED = "queued"
        UNQUEUED = "unqueued"
        STREAMING = "streaming"
        COMPLETE = "complete"
        CUT = "cut"
        FAILED = "failed"

    UNPLACED = (Status.QUEUED, Status.UNQUEUED)
    BY_PLACE = ("placed", "created_at", "id")
    """The order of siblings, and of a run's answers."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="children")
    after = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    """While queued: what it was written after. Its parent is the end of what has been put there by its claim …"""
    branch = models.BooleanField(default=False)
    """… unless it begins a branch: then ``after`` itself."""
    placed = models.PositiveBigIntegerField(default=0, db_default=0)
    """The thread's version when it got its place: clocks are set back, and differ between machines; this only rises."""
    role = models.CharField(max_length=10, choices=Role)
    author = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=10, choices=Status)
    text = models.TextField(blank=True)
    reasoning = models.TextField(blank=True)
    reasoning_ms = models.PositiveIntegerField(default=0, db_default=0)
    """How long the model thought, in milliseconds."""
    run = models.ForeignKey("Run", on_delete=models.SET_NULL, null=True, blank=True, related_name="messages")
    """The run that writes it (an answer), or that it prompts (a user's message)."""
    seq = models.PositiveBigIntegerField(default=0)
    """What of its run the text holds."""
    base_length = models.PositiveIntegerField(default=0)
    """The text's length when its run began: a stop never cuts below it."""
    error_code = models.CharField(max_length=40, blank=True, default="", db_default="")
    """Why it failed, when it did."""
    version = models.PositiveBigIntegerField(default=0)

    objects = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [
            models.Index(fields=["thread", "version"]),
            models.Index(fields=["thread", "created_at"]),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(role__in=["user", "assistant"]), name="message_role_known"),
            models.CheckConstraint(
                condition=Q(status__in=["queued", "unqueued", "streaming", "complete", "cut", "failed"]),
                name="message_status_known",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["queued", "unqueued"]) | Q(parent=None), name="message_unplaced_has_no_parent"
            ),
            models.CheckConstraint(condition=~Q(parent=F("id")), name="message_not_its_own_parent"),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.pk}"

    def place(self) -> uuid.UUID | None:
        """While queued: the parent that it would get if its run were claimed now."""
        if self.branch or self.after_id is None:
            return self.after_id
        return Message.objects.tip(self.after_id)

    def cut(self, seen: int) -> bool:
        """Cut the text to the first ``seen`` characters, never below where its run began. Whether anything went."""
        length = max(seen, self.base_length)
        if length >= len(self.text):
            return False
        self.text = self.text[:length]
        self.status, self.error_code = self.Status.CUT, ""
        return True

    def settle(self, error_code: str) -> None:
        """It has ended: complete, or failed with this code."""
        self.status, self.error_code = self.Status.FAILED if error_code else self.Status.COMPLETE, error_code

    @property
    def error(self) -> dict[str, Any] | None:
        """The error object of the protocol, or None."""
        return errors.CODES.get(self.error_code, errors.Internal)().as_dict() if self.error_code else None
