"""Runs: the queue, the leases, the states; and the workers who write them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from chat import errors
from chat.models.threads import Message, Thread
from chat.models.timestamped import Timestamped


class RunQuerySet(models.QuerySet["Run"]):
    def claimable(self, max_running: int) -> RunQuerySet:
        """Queued runs that may start now, longest waiting first: first in their thread, nothing running there, and
        their owner below ``max_running``."""
        same_thread = Run.objects.filter(thread=OuterRef("thread"))
        running_of_owner = (
            Run.objects.filter(state=Run.State.RUNNING, thread__owner=OuterRef("thread__owner"))
            .order_by()
            .values("thread__owner")
            .annotate(n=models.Count("pk"))
            .values("n")
        )
        return (
            self.filter(state=Run.State.QUEUED)
            .exclude(Exists(same_thread.filter(state=Run.State.RUNNING)))
            .exclude(Exists(same_thread.filter(state=Run.State.QUEUED, place__lt=OuterRef("place"))))
            .annotate(owner_running=models.Subquery(running_of_owner))
            .filter(Q(owner_running=None) | Q(owner_running__lt=max_running))
            .order_by("created_at", "place")
        )

    def active(self, thread: Thread) -> RunQuerySet:
        """The thread's runs that run or wait."""
        return self.filter(thread=thread, state__in=(Run.State.QUEUED, Run.State.RUNNING))

    def around(self, messages: Iterable[uuid.UUID]) -> RunQuerySet:
        """The runs that wrote these messages, and those that they prompted, whether they said a word or not."""
        ids = list(messages)
        wrote = Message.objects.filter(pk__in=ids).exclude(run=None).values("run")
        return self.filter(Q(prompt__in=ids) | Q(pk__in=wrote))

    def running(self, thread: Thread) -> Run | None:
        """The thread's running run, locked until the transaction ends."""
        return self.filter(thread=thread, state=Run.State.RUNNING).select_for_update().first()

    def queue_moved(self, thread: Thread) -> None:
        """A run has left the thread's queue, or come back to it: the rows of those that wait name their places."""
        self.filter(thread=thread, state=Run.State.QUEUED).update(version=thread.version)

    def held(self, run: uuid.UUID, lease: int) -> RunQuerySet:
        """The running run, if this lease number is still the one that may write it: every write compares and sets."""
        return self.filter(pk=run, lease=lease, state=Run.State.RUNNING)

    def renew(self, owner: str, runs: Iterable[uuid.UUID], lease_seconds: float, now: Any = None) -> list[uuid.UUID]:
        """Push out the expiry of the runs that ``owner`` holds, in one UPDATE. Returns those that were: one whose row
        somebody has locked is left to the next time, as it must not keep all others waiting."""
        ours = self.filter(pk__in=list(runs), lease_owner=owner, state=Run.State.RUNNING)
        free = list(ours.select_for_update(skip_locked=True).values_list("pk", flat=True))
        now = Now() if now is None else now
        self.filter(pk__in=free).update(lease_expires_at=now + timedelta(seconds=lease_seconds))
        return free

    def expired(self, now: Any = None) -> RunQuerySet:
        """Running runs whose lease has run out, by the database's clock."""
        return self.filter(state=Run.State.RUNNING, lease_expires_at__lt=Now() if now is None else now)


class Run(Timestamped):
    """One generation. A thread has at most one that runs, and a running one has exactly one writer: who holds the
    lease number."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        STOPPED = "stopped"
        FAILED = "failed"
        INTERRUPTED = "interrupted"

    FINAL = (State.COMPLETED, State.STOPPED, State.FAILED, State.INTERRUPTED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="runs")
    prompt = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="prompted")
    continues = models.ForeignKey(Message, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    """The answer it goes on with, instead of beginning one …"""
    resumes = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    """… and the run that wrote it last."""
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    place = models.BigIntegerField(default=0)
    """Its order in the thread's queue."""
    model = models.CharField(max_length=200, blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    seq = models.PositiveBigIntegerField(default=0)
    """The checkpoint: its messages' texts hold everything up to this seq."""
    lease = models.PositiveIntegerField(default=0)
    """The fencing number: rises with every claim and takeover."""
    lease_owner = models.CharField(max_length=100, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    stop = models.JSONField(null=True, blank=True)
    """The first recorded stop: {"seen": {message: characters} or null}."""
    left_out = models.PositiveIntegerField(default=0)
    """Turns of the path that the prompt's budget had no room for."""
    started_at = models.DateTimeField(null=True, blank=True)
    first_token_at = models.DateTimeField(null=True, blank=True)
    last_token_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    announced_at = models.DateTimeField(null=True, blank=True)
    """When REJOIN_ON_RUN_END returned for it …"""
    announcing_until = models.DateTimeField(null=True, blank=True)
    """… and until when somebody may be calling it."""
    tokens_in = models.PositiveIntegerField(null=True, blank=True)
    tokens_out = models.PositiveIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    retry_after = models.FloatField(null=True, blank=True)
    """Seconds, when the error says so."""
    version = models.PositiveBigIntegerField(default=0)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [
            models.Index(fields=["thread", "version"]),
            models.Index(fields=["state", "lease_expires_at"]),
            models.Index(fields=["state", "created_at"]),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["thread"], condition=Q(state="running"), name="run_one_running_in_a_thread"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running", "completed", "stopped", "failed", "interrupted"]),
                name="run_state_known",
            ),
            models.CheckConstraint(
                condition=~Q(state="running")
                | (Q(lease__gt=0) & ~Q(lease_owner="") & Q(lease_expires_at__isnull=False)),
                name="run_running_has_a_lease",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running"], finished_at=None)
                | Q(state__in=["completed", "stopped", "failed", "interrupted"], finished_at__isnull=False),
                name="run_finished_at_the_end",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.state} run {self.pk}"

    @property
    def takes_the_head(self) -> bool:
        """While queued, of a run at a message that has its place: it is another answer, and is shown with its claim."""
        return self.continues_id is None and self.attempts == 0

    @property
    def error(self) -> dict[str, Any] | None:
        """The error object of the protocol, or None."""
        if not self.error_code:
            return None
        kind = errors.CODES.get(self.error_code, errors.Internal)
        return kind(retry_after=self.retry_after).as_dict()


class Worker(Timestamped):
    """A worker process that is alive, by its own word: ``seen_at`` is renewed with its leases."""

    name = models.CharField(max_length=100, primary_key=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
